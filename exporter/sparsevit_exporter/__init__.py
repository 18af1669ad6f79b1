"""From a SparseViT checkpoint to one ONNX file."""

from .backbone import SparseViT
from .checkpoints import load_checkpoint
from .export import ExportOptions, export
from .networks import DetectionModel, SegmentationModel
from .parity import ParityReport

__all__ = [
    "DetectionModel",
    "ExportOptions",
    "ParityReport",
    "SegmentationModel",
    "SparseViT",
    "export",
    "load_checkpoint",
]
