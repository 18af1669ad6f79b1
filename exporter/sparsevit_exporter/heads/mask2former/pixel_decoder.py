"""Pixel decoder: three maps that have seen one another, and a fine one of the image's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ... import map_ops, ops
from .deformable import LEVELS, EncoderLayer, centres_of
from .positions import Positions

#: Groups of channels that are normalised together.
GROUPS = 32


class GroupNorm(nn.GroupNorm):
    """Statistics in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W)."""
        normed = map_ops.group_norm(x.float(), self.num_groups, self.eps).to(x.dtype)
        return normed * self.weight[:, None, None] + self.bias[:, None, None]


class _Encoder(nn.Module):
    """Holds the layers under their name."""

    def __init__(self, layers: int, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        made = nn.ModuleList(EncoderLayer(channels, heads, hidden) for _ in range(layers))
        self.layers = cast("Sequence[EncoderLayer]", made)  # PyTorch's list does not say of what

    def forward(self, tokens: Tensor, positions: Tensor, centres: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        for layer in self.layers:
            tokens = layer(tokens, positions, centres, sizes)
        return tokens


class PixelDecoder(nn.Module):
    """Deformable encoder on strides 32, 16, 8, and a pyramid's step from there to stride 4.

    Args:
        in_channels: channels of the backbone's four maps.
        channels: C, width of the decoder.
        mask_channels: M, width of the pixels' embeddings.
        heads, layers, hidden: numbers of the encoder.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, mask_channels: int, heads: int, layers: int, hidden: int
    ) -> None:
        super().__init__()
        self.positions = Positions(channels)
        self.centres: Tensor | None = None
        projections = (
            nn.Sequential(nn.Conv2d(c, channels, 1), GroupNorm(GROUPS, channels)) for c in in_channels[:0:-1]
        )
        self.input_projections = nn.ModuleList(projections)  # coarse to fine
        self.level_embed = nn.Parameter(torch.zeros(LEVELS, channels))
        self.encoder = _Encoder(layers, channels, heads, hidden)
        lateral = nn.Conv2d(in_channels[0], channels, 1, bias=False)
        self.adapter_1 = nn.Sequential(lateral, GroupNorm(GROUPS, channels))
        smooth = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.layer_1 = nn.Sequential(smooth, GroupNorm(GROUPS, channels), nn.ReLU())
        self.mask_projection = nn.Conv2d(channels, mask_channels, 1)

    def fix(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Makes what follows from the sizes of the three coarse maps, coarse to fine, for a trace to find it."""
        self.positions.fix(sizes)
        self.centres = centres_of(sizes)  # no buffer: it stays float32 in every graph

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Decodes.

        Args:
            maps: (B, C_i, H_i, W_i), fine to coarse.

        Returns:
            Maps at strides 32, 16, 8, (B, C, H_i, W_i), and embeddings of the pixels at stride 4, (B, M, H, W).
        """
        coarse = maps[:0:-1]
        sizes = [(m.shape[2], m.shape[3]) for m in coarse]
        flat = [p(m).flatten(2).transpose(1, 2) for p, m in zip(self.input_projections, coarse, strict=True)]
        places = [self.positions(*s, maps[0], e) for s, e in zip(sizes, self.level_embed.unbind(), strict=True)]
        centres = centres_of(sizes).to(maps[0].device) if self.centres is None else self.centres
        tokens = self.encoder(torch.cat(flat, 1), torch.cat(places), centres, sizes)  # (B, N, C)
        decoded, first = [], 0
        for height, width in sizes:
            level = tokens[:, first : first + height * width].transpose(1, 2)
            decoded.append(ops.reshape(level, (0, 0, height, width)))
            first += height * width
        fine = self.adapter_1(maps[0])
        fine = fine + map_ops.resize(decoded[-1], fine.shape[2], fine.shape[3])
        return decoded, self.mask_projection(self.layer_1(fine))
