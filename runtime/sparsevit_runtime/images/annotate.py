"""Words and panels on pictures, in sizes that follow the picture's."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..errors import FrameError
from .frames import check_frame

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)


def check_picture(image: np.ndarray | None, image_wh: tuple[int, int]) -> np.ndarray:
    """The image, when it is a frame of the result's size. Raises FrameError otherwise."""
    image = check_frame(image)
    if (image.shape[1], image.shape[0]) != tuple(image_wh):
        raise FrameError(
            f"the image is {image.shape[1]}x{image.shape[0]}, the result is of a frame of {image_wh[0]}x{image_wh[1]}; "
            "draw on that frame"
        )
    return image


def text_scale(canvas: np.ndarray) -> float:
    """OpenCV's font scale for a picture of that size."""
    return float(np.clip(max(canvas.shape[:2]) / 1600, 0.35, 1.2))


def write_legend(canvas: np.ndarray, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
    """Writes names beside squares of their RGB colours into the lower left corner, in place."""
    write_panel(canvas, [name for name, _ in entries], top=False, colors=[color[::-1] for _, color in entries])


def write_panel(
    canvas: np.ndarray, lines: Sequence[str], *, top: bool, colors: Sequence[Sequence[int]] | None = None
) -> None:
    """Writes lines on a darkened left corner, each behind a square of its colour; in place."""
    if not lines:
        return
    scale = text_scale(canvas)
    step = round(32 * scale) + 2
    indent = step if colors else step // 3
    width = indent + max(cv2.getTextSize(line, _FONT, scale, 1)[0][0] for line in lines) + step // 3
    height = step * len(lines) + step // 3
    first = 0 if top else max(0, canvas.shape[0] - height)
    panel = canvas[first : first + height, :width]
    panel //= 3
    for i, line in enumerate(lines):
        y = first + step * i + step // 6
        if colors:
            corner = (step // 4, y + step // 4)
            cv2.rectangle(canvas, corner, (corner[0] + step // 2, corner[1] + step // 2), colors[i], -1)
        cv2.putText(canvas, line, (indent, y + round(step * 0.72)), _FONT, scale, _WHITE, 1, cv2.LINE_AA)
