"""From scores of classes to label maps, in strips of rows.

All scores at the labels' resolution would be 160 MB for 19 classes at 1024x2048 pixels. A strip holds a few megabytes,
and gives the labels that the whole would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ends_ops

#: Numbers that a strip holds at the labels' resolution, at most: 16 MB of float32.
STRIP = 1 << 22


def strips(height: int, row: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """First and last row of each strip.

    Args:
        height: rows in all.
        row: numbers in a row.
        multiple: of which each strip's first row is one.
    """
    rows = max(1, STRIP // row // multiple) * multiple
    for first in range(0, height, rows):
        yield first, min(first + rows, height)


def upsample_rows(x: Tensor, scale: int, first: int, last: int, width: int) -> Tensor:
    """Rows of what the whole would be, scaled bilinearly.

    Args:
        x: (B, C, h, w).
        scale: rows and columns for each of x.
        first, last: rows of the result; `first` is a multiple of `scale`.
        width: columns of the result; the surplus is cropped.

    Returns:
        (B, C, last - first, width) float32.
    """
    if scale == 1:
        return x[:, :, first:last, :width].float()
    # A row depends on one row of x on either side; where there is none, the edge is repeated as in the whole.
    top = max(first // scale - 1, 0)
    bottom = min(-(-last // scale) + 1, x.shape[2])
    rows = F.interpolate(x[:, :, top:bottom].float(), scale_factor=float(scale), mode="bilinear", align_corners=False)
    return rows[:, :, first - top * scale : last - top * scale, :width]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Strips of a label map (B, rows, width) int64 -> (B, height, width) uint8.

    TensorRT has bytes as an output alone, and makes them of real numbers: they are made last.
    """
    numbers = [part.float() for part in parts]
    return (numbers[0] if len(numbers) == 1 else torch.cat(numbers, 1)).to(torch.uint8)


class LabelDecoder(nn.Module):
    """The class of the highest score for each label.

    Args:
        scale: labels for each score, along one side; the surplus beyond (height, width) is cropped.
        height, width: size of the label map.
    """

    def __init__(self, scale: int, height: int, width: int) -> None:
        super().__init__()
        self.scale, self.height, self.width = scale, height, width

    def forward(self, logits: Tensor) -> Tensor:
        """(B, K, h, w) -> (B, height, width) uint8. One node in a trace, whose body works in strips."""
        if torch.compiler.is_exporting():
            return ends_ops.label_decode(logits, self.scale, self.height, self.width)
        parts = []
        for first, last in strips(self.height, self.width * logits.shape[1], self.scale):
            parts.append(upsample_rows(logits, self.scale, first, last, self.width).argmax(1))
        return joined(parts)


def decode_labels(logits: Tensor, scale: int, height: int, width: int) -> Tensor:
    """Label map from logits.

    Args:
        logits: (B, K, h, w).
        scale: labels per logit along one side; the surplus beyond (height, width) is cropped.
        height, width: those of the label map.

    Returns:
        (B, height, width) uint8.
    """
    return LabelDecoder(scale, height, width)(logits)
