"""From a SparseViT checkpoint to one ONNX file."""

from .backbone import SparseViT

__all__ = ["SparseViT"]
