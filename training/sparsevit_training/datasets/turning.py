"""Pictures are turned the way their EXIF orientation says, and truth that was drawn on the pixels as stored with them.

Viewers and the runtime turn a picture so; what a model is trained and measured on is what it will see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .base import BadSample, decode


@dataclass(frozen=True)
class Turn:
    """A turn that swaps width and height.

    Attributes:
        array: an image or a label map (H, W, ...), turned.
        point: place where the point x, y of a picture of width w and height h comes to lie: `point(x, y, w, h)`.
    """

    array: Callable[[np.ndarray], np.ndarray]
    point: Callable[[float, float, int, int], tuple[float, float]]

    def box(self, box: tuple[float, float, float, float], wh: tuple[int, int]) -> tuple[float, float, float, float]:
        """A box x, y, width, height in a picture of `wh`, turned with it."""
        x, y, width, height = box
        corners = [self.point(*corner, *wh) for corner in ((x, y), (x + width, y + height))]
        (x0, x1), (y0, y1) = (sorted(values) for values in zip(*corners, strict=True))
        return x0, y0, x1 - x0, y1 - y0


#: EXIF's orientations 5 to 8; 2 to 4 keep the size, and no file says whether its truth knew of them.
_TURNS = (
    Turn(lambda a: a.swapaxes(0, 1), lambda x, y, w, h: (y, x)),
    Turn(lambda a: np.rot90(a, -1), lambda x, y, w, h: (h - y, x)),
    Turn(lambda a: np.rot90(a, 2).swapaxes(0, 1), lambda x, y, w, h: (h - y, w - x)),
    Turn(lambda a: np.rot90(a), lambda x, y, w, h: (y, w - x)),
)


def decode_turned(path: Path, truth_wh: tuple[int, int] | None, whose: str) -> tuple[np.ndarray, Turn | None]:
    """A picture for a truth of that size.

    Args:
        path: the file.
        truth_wh: size that the truth was drawn for; None where it does not say.
        whose: names the truth in messages.

    Returns:
        (H, W, 3) uint8 BGR turned by EXIF, and what the truth must be turned by; None where it belongs to that picture.

    Raises:
        BadSample: it does not decode, or is of another size, turned or not.
    """
    image = decode(path)
    height, width = image.shape[:2]
    if truth_wh in (None, (width, height)):
        return image, None
    stored = decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if truth_wh == stored.shape[1::-1]:
        for turn in _TURNS:
            if np.array_equal(turn.array(stored), image):
                return image, turn
    raise BadSample(f"the image is {width}x{height}, {whose} {truth_wh[0]}x{truth_wh[1]} (width x height)")
