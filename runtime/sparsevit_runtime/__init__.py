"""Runs SparseViT models on camera frames. Needs no torch, no TensorRT and no CUDA."""

__version__ = "0.1.0"
