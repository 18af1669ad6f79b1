"""Sine position embeddings (Carion et al., "End-to-End Object Detection with Transformers"), kept as two small tables.

The embedding of a place is that of its row in the first half of the channels, and that of its column in the second. A
graph adds the two tables instead of holding one vector for each of 40,000 places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_TEMPERATURE = 10000.0


class Positions(nn.Module):
    """Position embeddings of maps; those of a fixed size are made once.

    Args:
        channels: C, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def fix(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Makes the tables of maps of these sizes, rows and columns each, for a trace to find them."""
        for height, width in sizes:
            for name, table in zip(("rows", "columns"), sine_tables(height, width, self.channels), strict=True):
                self.register_buffer(f"{name}_{height}x{width}", table, persistent=False)

    def forward(self, height: int, width: int, like: Tensor, level: Tensor | None = None) -> Tensor:
        """Embeddings of a map's places, row by row.

        Args:
            height, width: size of the map.
            like: any tensor of the type and on the device that they shall have.
            level: (C,), added to all of them; None for nothing.

        Returns:
            (H*W, C).
        """
        rows = getattr(self, f"rows_{height}x{width}", None)
        if rows is None:
            rows, columns = (table.to(like) for table in sine_tables(height, width, self.channels))
        else:
            columns = getattr(self, f"columns_{height}x{width}")
        if level is not None:
            rows = rows + level
        return (rows + columns).flatten(0, 1)


def sine_tables(height: int, width: int, channels: int) -> tuple[Tensor, Tensor]:
    """Tables of rows (H, 1, C) and columns (1, W, C), float32; their sum (H, W, C) is the embedding."""
    half = channels // 2
    rows, columns = torch.zeros(height, 1, channels), torch.zeros(1, width, channels)
    rows[:, 0, :half] = _sine(height, half)
    columns[0, :, half:] = _sine(width, half)
    return rows, columns


def _sine(length: int, channels: int) -> Tensor:
    """(length, C): sine and cosine by turns, places counted from 1 and scaled to a full turn."""
    places = torch.arange(1, length + 1, dtype=torch.float32)
    places = places / (places[-1] + 1e-6) * (2 * math.pi)
    steps = torch.arange(channels, dtype=torch.int64).float()
    steps = _TEMPERATURE ** (2 * torch.div(steps, 2, rounding_mode="floor") / channels)
    angles = places[:, None] / steps
    return torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], dim=2).flatten(1)
