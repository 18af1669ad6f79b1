"""Sparsity-aware training and evaluation of SparseViT models."""
