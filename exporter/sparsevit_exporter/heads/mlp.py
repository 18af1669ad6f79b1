"""SegFormer's all-MLP head (Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation", 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..map_ops import resize


class MlpHead(nn.Module):
    """Class scores at stride 4: a linear layer on each map, their sum, one more.

    The published head projects each map to as many channels, resizes the four to stride 4, and fuses the concatenation
    by another linear layer. Nothing lies between the two, so they are one linear layer for each map; it is computed at
    the map's own resolution, which is a sixth of the work at 1024x2048 pixels on Swin-T.

    Args:
        in_channels: channels of the backbone's maps.
        num_classes: classes; void is not one of them.
        channels: width of the head.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, channels: int = 64) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(c, channels, 1, bias=False) for c in in_channels)
        self.norm = nn.BatchNorm2d(channels)
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Backbone maps, fine to coarse -> logits (B, num_classes, H/4, W/4)."""
        fine, *coarse = (project(m) for project, m in zip(self.projections, maps, strict=True))
        height, width = fine.shape[2:]
        for x in coarse:
            fine = fine + resize(x, height, width)
        return self.classify(F.relu(self.norm(fine)))
