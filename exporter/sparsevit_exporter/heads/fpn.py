"""The feature pyramid of Mask R-CNN (Lin et al., "Feature Pyramid Networks for Object Detection"), as published with
SparseViT: names, shapes and results are those of mmdetection's `FPN`."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

#: Pixels per cell of its levels.
STRIDES = (4, 8, 16, 32, 64)


class Convolution(nn.Module):
    """A convolution with bias that keeps the size, under the name `conv`."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return self.conv(x)


class FPN(nn.Module):
    """One level for each map of the backbone, and one more.

    Args:
        in_channels: channels of the backbone's maps, fine to coarse.
        channels: channels of every level.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(Convolution(inputs, channels, 1) for inputs in in_channels)
        self.fpn_convs = nn.ModuleList(Convolution(channels, channels, 3) for _ in in_channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_i, H_i, W_i), each half as large as the one before -> levels (B, channels, H_i, W_i), fine to coarse.

        The last is every second row and column of the one before it, which its convolution has gone over.
        """
        merged = [lateral(x) for lateral, x in zip(self.lateral_convs, maps, strict=True)]
        for i in range(len(merged) - 1, 0, -1):
            merged[i - 1] = merged[i - 1] + F.interpolate(merged[i], scale_factor=2.0, mode="nearest")
        levels = [smooth(x) for smooth, x in zip(self.fpn_convs, merged, strict=True)]
        return [*levels, F.max_pool2d(levels[-1], kernel_size=1, stride=2)]
