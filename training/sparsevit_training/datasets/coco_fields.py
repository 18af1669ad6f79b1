"""Fields of an object in COCO JSON, as files have them and as they are meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

#: A box may reach this many pixels out of the image: rounding, not a mistake.
_ROUNDING = 1.0
#: No image has so many pixels.
_MOST_AREA = 1e18
#: What stands for no and yes in `iscrowd`.
_CROWD = {None: False, 0: False, 1: True, "0": False, "1": True}


class BadObject(Exception):
    """Raised for one unusable object, with the reason as the end of "3 objects ..."; its image goes on without it."""


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number that a pixel can be counted with: no truth value, not infinite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e9 < value < 1e9


def id_key(value: object) -> str | None:
    """The text that an id is known by, for files mix 7, 7.0 and "7"; None where it is no id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        return None
    return str(value)


def read_box(value: Any, image_wh: tuple[int, int]) -> tuple[tuple[float, float, float, float], bool]:
    """x, y, width and height inside the image, and whether they had to be clipped.

    Raises:
        BadObject: no four numbers, no area, or nothing of it inside the image.
    """
    if not isinstance(value, list) or len(value) != 4:
        raise BadObject("without a bbox of x, y, width and height")
    if not all(is_number(v) for v in value):
        raise BadObject("whose bbox is not four numbers")
    x, y, width, height = value
    if width <= 0 or height <= 0:
        raise BadObject("whose bbox has no area")
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, image_wh[0]), min(y + height, image_wh[1])
    if right <= left or bottom <= top:
        raise BadObject("whose bbox lies outside the image")
    beyond = max(left - x, top - y, x + width - right, y + height - bottom)
    if beyond <= _ROUNDING:
        return (x, y, width, height), False
    return (left, top, right - left, bottom - top), True


def read_area(value: Any, box: Sequence[float]) -> float:
    """The area in pixels, that of the box where the field says none."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _MOST_AREA
    return float(value if known else box[2] * box[3])


def read_crowd(value: Any) -> bool:
    """Whether it is a crowd. Raises BadObject where the field says neither."""
    try:
        return _CROWD[value]
    except (KeyError, TypeError):
        raise BadObject("whose iscrowd is neither 0 nor 1") from None
