"""A light feature pyramid (Lin et al., "Feature Pyramid Networks for Object Detection")."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def separable_conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Depthwise then pointwise: the cheap 3x3 for high resolutions."""
    return nn.Sequential(conv_bn_relu(inputs, inputs, kernel, groups=inputs), conv_bn_relu(inputs, outputs))


def upsample_to(x: Tensor, target: Tensor) -> Tensor:
    """Twice the size, cropped to the target: merges round odd maps up, so the surplus row or column has no source."""
    height, width = target.shape[2:]
    return F.interpolate(x, scale_factor=2.0, mode="nearest")[:, :, :height, :width]


class FeaturePyramid(nn.Module):
    """Top-down pyramid with an image-level context vector at its top.

    Args:
        in_channels: channels of the backbone's maps, fine to coarse.
        channels: channels of every output level.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(conv_bn_relu(c, channels) for c in in_channels)
        self.context = nn.Sequential(nn.Conv2d(in_channels[-1], channels, 1), nn.ReLU(inplace=True))
        # Dense 3x3 convolutions where they are cheap; the finest level has most of the pixels.
        self.smooth = nn.ModuleList(
            separable_conv(channels, channels) if i == 0 else conv_bn_relu(channels, channels, 3)
            for i in range(len(in_channels))
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_i, H_i, W_i) maps, fine to coarse -> as many (B, channels, H_i, W_i)."""
        top = self.laterals[-1](maps[-1]) + self.context(maps[-1].mean((2, 3), keepdim=True))
        outputs = [self.smooth[-1](top)]
        for i in range(len(maps) - 2, -1, -1):
            outputs.append(self.smooth[i](self.laterals[i](maps[i]) + upsample_to(outputs[-1], maps[i])))
        return outputs[::-1]
