"""Convolutions as YOLOX has them: batch norms folded into them, each with its activation."""

from __future__ import annotations

from torch import nn


def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups), nn.SiLU())


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 depthwise, then pointwise."""
    return nn.Sequential(conv(inputs, inputs, 3, stride, groups=inputs), conv(inputs, outputs))
