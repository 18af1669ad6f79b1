"""From a SparseViT checkpoint to one ONNX file."""

from .backbone import SparseViT
from .checkpoints import load_checkpoint
from .export import export
from .options import ExportOptions
from .parity_report import ParityReport
from .tasks.detection import DetectionModel, DetectionOptions
from .tasks.instances import InstanceModel, InstanceOptions
from .tasks.segmentation import SegmentationModel, SegmentationOptions

__all__ = [
    "DetectionModel",
    "DetectionOptions",
    "ExportOptions",
    "InstanceModel",
    "InstanceOptions",
    "ParityReport",
    "SegmentationModel",
    "SegmentationOptions",
    "SparseViT",
    "export",
    "load_checkpoint",
]
