"""Whole networks: the backbone alone, or with a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .backbone import SparseViT
from .heads import DetectionHead, SegmentationHead
from .heads.detection import RawDetections


class SegmentationModel(nn.Module):
    """SparseViT with the segmentation head.

    Args:
        backbone: the feature extractor.
        num_classes: classes; void is not one of them.
        channels: width of the head.
    """

    task = "segmentation"

    def __init__(self, backbone: SparseViT, num_classes: int, channels: int = 64) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = SegmentationHead(backbone.channels, num_classes, channels)
        self.head_config = {"num_classes": num_classes, "channels": channels}

    def forward(
        self,
        images: Tensor,
        ratios: Sequence[Sequence[float]] | None = None,
        keep: Sequence[int] | None = None,
        orders: Sequence[Mapping[int, Tensor]] | None = None,
    ) -> Tensor:
        """(B, 3, H, W) normalised RGB -> logits (B, K, H/4, W/4); the others as in `SparseViT.forward`."""
        return self.head(self.backbone(images, ratios, keep, orders))


class DetectionModel(nn.Module):
    """SparseViT with the detection head; arguments as for `SegmentationModel`."""

    task = "detection"

    def __init__(self, backbone: SparseViT, num_classes: int, channels: int = 64) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = DetectionHead(backbone.channels, num_classes, channels)
        self.head_config = {"num_classes": num_classes, "channels": channels}

    def forward(
        self,
        images: Tensor,
        ratios: Sequence[Sequence[float]] | None = None,
        keep: Sequence[int] | None = None,
        orders: Sequence[Mapping[int, Tensor]] | None = None,
    ) -> RawDetections:
        """(B, 3, H, W) normalised RGB -> one-to-one predictions at every location."""
        return self.head(self.backbone(images, ratios, keep, orders))


HEADED_MODELS = {m.task: m for m in (SegmentationModel, DetectionModel)}
