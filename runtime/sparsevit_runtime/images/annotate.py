"""Words on pictures, in sizes that follow the picture's: panels in the corners, and tags on boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import FrameError
from .frames import check_frame

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _GREY, _BLACK = (255, 255, 255), (160, 160, 160), (0, 0, 0)
#: Lines of text that would fill a picture from top to bottom, and the least height of one that can be read, in pixels.
_LINES, _LEAST_LINE = 32, 13
#: Height of a line of text in this font at scale 1, in pixels, with what is between it and the next.
_FONT_LINE = 39.0
#: No panel is higher than this share of the picture.
_PANEL_SHARE = 1 / 3


class Entry(NamedTuple):
    """Words of a panel.

    Attributes:
        text: ASCII, which is all that OpenCV writes.
        swatch: BGR colour of a square before them, or (h, w, 3) uint8 BGR that is shown in one; None for no square.
    """

    text: str
    swatch: tuple[int, int, int] | np.ndarray | None = None


def check_picture(image: np.ndarray | None, image_wh: tuple[int, int]) -> np.ndarray:
    """The image, when it is a frame of the result's size. Raises FrameError otherwise."""
    image = check_frame(image)
    if (image.shape[1], image.shape[0]) != tuple(image_wh):
        raise FrameError(
            f"the image is {image.shape[1]}x{image.shape[0]}, the result is of a frame of {image_wh[0]}x{image_wh[1]}; "
            "draw on that frame"
        )
    return image


def line_height(canvas: np.ndarray) -> int:
    """Pixels from one line of text to the next: a share of the picture's shorter side, and never too small to read."""
    height, width = canvas.shape[:2]
    line: int = round(min(height, width * 9 / 16) / _LINES)
    return max(_LEAST_LINE, line)


def line_width(canvas: np.ndarray) -> int:
    """Pixels of a thin line that is seen at the picture's size."""
    return max(1, round(line_height(canvas) / 12))


def write_panel(canvas: np.ndarray, entries: Sequence[Entry], *, top: bool, share: float = 1.0) -> None:
    """Writes entries on a darkened panel in a left corner, in place: beside one another as far as they fit.

    What does not fit, into the picture or into a third of its height, is left out and counted: ``+3``.

    Args:
        canvas: (H, W, 3) uint8 BGR.
        entries: lines to write.
        top: place in the upper corner, else in the lower one.
        share: share of the picture's width that may be used.
    """
    step = line_height(canvas)
    height, width = canvas.shape[:2]
    rows = _rows(entries, step, (int(width * share), width), int(height * _PANEL_SHARE) // step)
    if not rows:
        return
    right = max(sum(_width(entry, step) for entry in row) for row in rows)
    upper = 0 if top else height - step * len(rows)
    panel = canvas[upper : upper + step * len(rows), :right]
    cv2.convertScaleAbs(panel, dst=panel, alpha=1 / 3)
    for i, row in enumerate(rows):
        x = 0
        for entry in row:
            _write(canvas, entry, x, upper + step * i, step)
            x += _width(entry, step)


def write_tag(canvas: np.ndarray, text: str, xy: tuple[float, float], color: tuple[int, int, int]) -> None:
    """Writes words on a patch of their colour above the upper left corner of a box, in place.

    Where there is no room above, the patch is in the box; it never leaves the picture as long as the picture is larger.

    Args:
        canvas: (H, W, 3) uint8 BGR.
        text: ASCII.
        xy: corner of the box in pixels.
        color: BGR.
    """
    step = line_height(canvas)
    width = _width(Entry(text), step) - step // 4
    x = max(0, min(round(xy[0]), canvas.shape[1] - width))
    y = round(xy[1]) - step
    y = max(0, min(y if y >= 0 else round(xy[1]), canvas.shape[0] - step))
    cv2.rectangle(canvas, (x, y), (x + width - 1, y + step - 1), color, cv2.FILLED)
    blue, green, red = color
    bright = 0.114 * blue + 0.587 * green + 0.299 * red > 140
    _put(canvas, text, x + step // 4, y, step, _BLACK if bright else _WHITE)


def _rows(entries: Sequence[Entry], step: int, widths: tuple[int, int], limit: int) -> list[list[Entry]]:
    """Entries in rows that fit, at most `limit` of them; the last entry counts those left out.

    Args:
        entries: entries in order.
        step: height of a line.
        widths: width of a row, and what one entry alone may take where it needs more.
        limit: rows at most.
    """
    width, whole = widths
    rows: list[list[Entry]] = []
    left = 0
    rest = list(entries)
    while rest:
        needed = _width(rest[0], step)
        if needed > whole:  # words wider than the picture
            rest.pop(0)
            continue
        if not rows or needed > left:
            if len(rows) == limit:
                break
            rows.append([])
            left = width
        rows[-1].append(rest.pop(0))
        left -= needed
    if rest and rows:
        count = len(rest)
        while rows[-1] and _width(Entry(f"+{count}"), step) > left:
            left += _width(rows[-1].pop(), step)
            count += 1
        rows[-1].append(Entry(f"+{count}"))
    return rows


def _parts(entry: Entry, step: int) -> Iterator[int]:
    """Widths of what an entry is made of."""
    yield step // 4
    if entry.swatch is not None:
        yield _swatch_width(entry.swatch, step) + step // 4
    yield _text_width(entry.text, step)
    yield step // 2 if entry.swatch is None else step // 4


@lru_cache(maxsize=1024)
def _text_width(text: str, step: int) -> int:
    return int(cv2.getTextSize(text, _FONT, step / _FONT_LINE, _thickness(step))[0][0])


def _width(entry: Entry, step: int) -> int:
    return sum(_parts(entry, step))


def _swatch_width(swatch: tuple[int, int, int] | np.ndarray, step: int) -> int:
    size = step - 2 * (step // 4)
    return size * 2 if isinstance(swatch, np.ndarray) else size


def _write(canvas: np.ndarray, entry: Entry, x: int, y: int, step: int) -> None:
    x += step // 4
    if entry.swatch is not None:
        width, size = _swatch_width(entry.swatch, step), step - 2 * (step // 4)
        place = canvas[y + step // 4 : y + step // 4 + size, x : x + width]
        if isinstance(entry.swatch, np.ndarray):
            cv2.resize(entry.swatch, (width, size), dst=place, interpolation=cv2.INTER_AREA)
        else:
            place[:] = entry.swatch
            cv2.rectangle(canvas, (x - 1, y + step // 4 - 1), (x + width, y + step // 4 + size), _GREY, 1)
        x += width + step // 4
    _put(canvas, entry.text, x, y, step, _WHITE)


def _put(canvas: np.ndarray, text: str, x: int, y: int, step: int, color: tuple[int, int, int]) -> None:
    line = canvas[y : y + step]  # nothing is written beyond it
    cv2.putText(line, text, (x, round(step * 0.71)), _FONT, step / _FONT_LINE, color, _thickness(step), cv2.LINE_AA)


def _thickness(step: int) -> int:
    return max(1, round(step / 24))
