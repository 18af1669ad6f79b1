"""A convolutional front: YOLOX's backbone and neck (Ge et al., "YOLOX: Exceeding YOLO Series in 2021"). Every stage of
a SparseViT takes in one of its maps, beside what the stage before hands on.

Trained on far more pictures than most who adapt a network have, it says what is where; the windows say it more sharply,
where they are computed. What no window computes keeps the front's meaning. Its batch norms are folded into its
convolutions, as in the files that its weights come from (`checkpoints.yolox`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolutions import conv, separable
from .heads.pyramid import upsample_to
from .options import IMAGENET_MEAN, IMAGENET_STD

#: Maps of a front: one for each stage, at strides 4, 8, 16 and 32.
MAPS = 4
#: Pixels that the stem looks beyond the border.
STEM_PADDING = 2


class Bottleneck(nn.Module):
    """1x1, then separable 3x3, added to what came in where `residual`."""

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.reduce, self.widen = conv(channels, channels), separable(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.widen(self.reduce(x))
        return x + y if self.residual else y


class CrossStage(nn.Module):
    """Bottlenecks on half of the channels, the other half past them (Wang et al., "CSPNet")."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1, residual: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.main, self.side = conv(inputs, half), conv(inputs, half)
        self.blocks = nn.Sequential(*(Bottleneck(half, residual) for _ in range(depth)))
        self.join = conv(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([self.blocks(self.main(x)), self.side(x)], 1))


class PyramidPooling(nn.Module):
    """Maxima of 5, 9 and 13 cells beside the map itself; a maximum of 5 of one of 5 is one of 9."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.join = conv(channels, channels // 2), conv(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [self.reduce(x)]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, stride=1, padding=2))
        return self.join(torch.cat(pooled, 1))


class FrontFeatures(nn.Module):
    """The convolutions, in the order in which they are computed.

    Args:
        width: channels of the stem; 16 is YOLOX-nano.

    Attributes:
        black: (3,), a black pixel, which is what lies beyond the border.
        channels: channels of each map.
    """

    black: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = tuple(width * 2 << i for i in range(MAPS))
        c4, c8, c16, c32 = self.channels
        self.register_buffer("black", black_pixel(IMAGENET_MEAN, IMAGENET_STD))
        self.stem = nn.Sequential(nn.Conv2d(3, width, 6, 2), nn.SiLU())  # YOLOX's focus and 3x3 in one
        self.dark2 = nn.Sequential(separable(width, c4, 2), CrossStage(c4, c4, 1, residual=True))
        self.dark3 = nn.Sequential(separable(c4, c8, 2), CrossStage(c8, c8, 3, residual=True))
        self.dark4 = nn.Sequential(separable(c8, c16, 2), CrossStage(c16, c16, 3, residual=True))
        self.dark5 = nn.Sequential(separable(c16, c32, 2), PyramidPooling(c32), CrossStage(c32, c32))
        self.lateral5, self.down_to4 = conv(c32, c16), CrossStage(c32, c16)
        self.lateral4, self.down_to3 = conv(c16, c8), CrossStage(c16, c8)
        self.reduce3, self.up_to4 = separable(c8, c8, 2), CrossStage(c16, c16)
        self.reduce4, self.up_to5 = separable(c16, c16, 2), CrossStage(c32, c32)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised RGB -> (B, C, ceil(H/s), ceil(W/s)) for the strides s = 4, 8, 16, 32."""
        return self.maps(self.stem(bordered(images, self.black)))

    def maps(self, x: Tensor) -> list[Tensor]:
        """As `forward`, of what the stem gave."""
        c2 = self.dark2(x)
        c3 = self.dark3(c2)
        c4 = self.dark4(c3)
        l5 = self.lateral5(self.dark5(c4))
        l4 = self.lateral4(self.down_to4(torch.cat([upsample_to(l5, c4), c4], 1)))
        p3 = self.down_to3(torch.cat([upsample_to(l4, c3), c3], 1))
        p4 = self.up_to4(torch.cat([self.reduce3(p3), l4], 1))
        return [c2, p3, p4, self.up_to5(torch.cat([self.reduce4(p4), l5], 1))]


def black_pixel(mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(3,) float32, what RGB normalisation by bytes of mean and deviation makes of a black pixel."""
    return torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])


def bordered(images: Tensor, black: Tensor) -> Tensor:
    """(B, 3, H, W) with black beyond the border, for the stem to look at; rows and columns are even afterwards."""
    height, width = images.shape[2:]
    pads = (STEM_PADDING, STEM_PADDING + width % 2, STEM_PADDING, STEM_PADDING + height % 2)
    colour = black.view(3, 1, 1)
    return F.pad(images - colour, pads) + colour


class Projection(nn.Module):
    """Adds a map of the front to what a stage takes in."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor, feature_map: Tensor) -> Tensor:
        """(B, H, W, C) and (B, C', H, W) -> (B, H, W, C)."""
        return x + self.layer(feature_map).permute(0, 2, 3, 1)


class Front(nn.Module):
    """The convolutions, and what brings their maps to the stages' widths.

    Args:
        width: channels of the stem; 16 is YOLOX-nano.
        channels: channels of each stage.

    Raises:
        ValueError: there are more or fewer stages than maps, or the width is odd.
    """

    def __init__(self, width: int, channels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != MAPS or width < 2 or width % 2:
            raise ValueError(
                f"a front of {width} channels before {len(channels)} stages: its channels must be even, and there are "
                f"{MAPS} stages"
            )
        self.width = width
        self.features = FrontFeatures(width)
        self.projections = nn.ModuleList(Projection(*c) for c in zip(self.features.channels, channels, strict=True))

    def add_nothing(self) -> None:
        """Has the projections say nothing, until they are trained."""
        for projection in self.projections:
            norm = cast(Projection, projection).layer[1]
            nn.init.zeros_(cast(Tensor, norm.weight))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised RGB -> the maps, as `FrontFeatures` gives them."""
        return self.features(images)
