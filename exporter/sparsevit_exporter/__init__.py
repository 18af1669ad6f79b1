"""From a SparseViT checkpoint to one ONNX file."""

from .backbone import SparseViT
from .networks import DetectionModel, SegmentationModel

__all__ = ["DetectionModel", "SegmentationModel", "SparseViT"]
