"""Semantic segmentation head: a pyramid, merged at stride 4."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .pyramid import FeaturePyramid, conv_bn_relu, separable_conv, upsample_to


class SegmentationHead(nn.Module):
    """Class scores at stride 4.

    Args:
        in_channels: channels of the backbone's maps.
        num_classes: classes; void is not one of them.
        channels: width of the head.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, channels: int = 64) -> None:
        super().__init__()
        self.pyramid = FeaturePyramid(in_channels, channels)
        self.merge = conv_bn_relu(2 * channels, channels)
        self.refine = separable_conv(channels, channels, kernel=5)
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Backbone maps -> logits (B, num_classes, H/4, W/4)."""
        fine, *coarse = self.pyramid(maps)
        context = upsample_to(coarse[0], fine)  # (B, channels, H/4, W/4)
        x = self.merge(torch.cat([fine, context], dim=1))
        return self.classify(self.refine(x))
