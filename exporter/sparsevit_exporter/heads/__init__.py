"""Heads on top of the backbone's four maps."""

from .detection import DetectionHead
from .segmentation import SegmentationHead

__all__ = ["DetectionHead", "SegmentationHead"]
