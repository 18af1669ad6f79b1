"""Masks over boxes, pasted into a frame's pixels: only where they can be, at or beside their box."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: A pixel belongs to an object from this probability on.
MASK_THRESHOLD = 0.5
#: Pixels of a strip that is worked on at a time.
_STRIP = 1 << 15


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a frame.

    Attributes:
        x, y: its first column and row, in pixels.
        width, height: pixels; 0 where nothing of it is on the frame.
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def rows(self) -> slice:
        return slice(self.y, self.y + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.x, self.x + self.width)


def patch_of(xyxy: np.ndarray, image_wh: tuple[int, int]) -> Patch:
    """The pixels that a mask over a box can reach: a pixel more than the box on each side, and on the frame.

    Args:
        xyxy: (4,) corners in frame pixels; they may lie beyond the frame.
        image_wh: width and height of the frame.
    """
    (x0, y0, x1, y1), (width, height) = (float(v) for v in xyxy), image_wh
    left, right = _reach(x0, x1, width)
    top, bottom = _reach(y0, y1, height)
    return Patch(left, top, right - left, bottom - top)


def paste(grid: np.ndarray, xyxy: np.ndarray, patch: Patch) -> np.ndarray:
    """Probabilities of a mask at the pixels of a patch.

    The grid is read bilinearly at the pixels' centres and is 0 beyond its cells' centres by one cell, as detectron2 and
    mmdet paste (`_do_paste_mask`: ``grid_sample`` with ``align_corners=False`` and zeros as padding).

    Args:
        grid: (h, w) float32 probabilities over the box.
        xyxy: (4,) corners of the box in frame pixels.
        patch: part of the frame.

    Returns:
        (patch.height, patch.width) float32.
    """
    x0, y0, x1, y1 = (float(v) for v in xyxy)
    rows, columns = grid.shape
    bordered = np.zeros((rows + 2, columns + 2), np.float32)
    bordered[1:-1, 1:-1] = grid
    above, below, share = _taps(patch.y, patch.height, y0, y1, rows)
    lines = bordered[above] * (1 - share)[:, None] + bordered[below] * share[:, None]  # (H, w + 2)
    left, right, share = _taps(patch.x, patch.width, x0, x1, columns)
    # Products of matrices would be shorter, but wake the threads of a library that others have work for.
    pasted = np.empty((patch.height, patch.width), np.float32)
    step = max(1, _STRIP // max(1, patch.width))
    for y in range(0, patch.height, step):  # strips stay in the CPU's cache
        strip = lines[y : y + step]
        out = np.take(strip, left, axis=1, out=pasted[y : y + step], mode="clip")
        out *= 1 - share
        out += strip.take(right, axis=1) * share
    return pasted


def _reach(low: float, high: float, length: int) -> tuple[int, int]:
    """First pixel and the one after the last along an axis."""
    low, high = max(min(low, high), -1.0), min(max(low, high), length + 1.0)  # numbers that int can have
    first = min(max(math.floor(low) - 1, 0), length)
    return first, max(first, min(math.ceil(high) + 1, length))


def _taps(first: int, count: int, low: float, high: float, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along an axis, the two cells that each pixel lies between, numbered from 1 with a border of nothing before and
    after them, (count,) each, and the share that the second has, float32."""
    offset = np.arange(first, first + count) + 0.5 - low
    # Of a box without extent every pixel takes the middle, as the original does.
    place = offset / (high - low) * cells - 0.5 if high != low else np.full(count, (cells - 1) / 2)
    place = place.clip(-1, cells)  # beyond there is nothing, however far
    before = np.floor(place)
    second = np.minimum(before + 2, cells + 1)
    return (before + 1).astype(np.intp), second.astype(np.intp), (place - before).astype(np.float32)
