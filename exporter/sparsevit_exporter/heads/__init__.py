"""Heads on top of the backbone's four maps."""

from .detection import DetectionHead
from .mask2former import Mask2FormerHead
from .mlp import MlpHead
from .segmentation import SegmentationHead

__all__ = ["DetectionHead", "Mask2FormerHead", "MlpHead", "SegmentationHead"]
