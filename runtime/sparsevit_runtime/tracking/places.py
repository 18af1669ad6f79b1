"""Lines and zones at which tracked objects are counted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..arguments import as_number, as_text
from ..errors import ArgumentError
from ..texts import shown

#: No frame has more pixels in a row or column.
_FARTHEST = 1e5
_LONGEST_NAME = 40


@dataclass(frozen=True)
class CountLine:
    """A line. Whoever crosses it to the left, seen from the first point to the second, goes in; the others go out.

    Attributes:
        xy: numbers x1, y1, x2, y2, from the upper left corner: shares of the frame where none is above 1, else pixels.
        name: name in results; ``line 1``, ``line 2`` and so on when empty.
    """

    xy: Sequence[float]
    name: str = ""

    kind: ClassVar[str] = "line"
    usage: ClassVar[str] = "x1,y1,x2,y2 and, after a comma, name=... as in 0,0.5,1,0.5,name=gate"

    def __post_init__(self) -> None:
        _check(self, 2, 2)

    @classmethod
    def parse(cls, text: str) -> CountLine:
        """A line from ``0,0.5,1,0.5`` or ``0,0.5,1,0.5,name=gate``. Raises ArgumentError."""
        return cls(*_split(text, cls))


@dataclass(frozen=True)
class CountZone:
    """A polygon.

    Attributes:
        xy: numbers x, y, x, y, x, y, ... of three corners or more, as in `CountLine`.
        name: name in results; ``zone 1``, ``zone 2`` and so on when empty.
    """

    xy: Sequence[float]
    name: str = ""

    kind: ClassVar[str] = "zone"
    usage: ClassVar[str] = "x,y of three corners or more and, after a comma, name=... as in 0,0,0.5,0,0.5,1,name=left"

    def __post_init__(self) -> None:
        _check(self, 3, 1000)

    @classmethod
    def parse(cls, text: str) -> CountZone:
        """A zone from ``0,0,0.5,0,0.5,1`` or ``0,0,0.5,0,0.5,1,name=left``. Raises ArgumentError."""
        return cls(*_split(text, cls))


Place = CountLine | CountZone


def named(places: Sequence[Place]) -> list[Place]:
    """The places with a name each.

    Raises:
        ArgumentError: two have the same one, or something else is among them.
    """
    found: list[Place] = []
    for place in places:
        if not isinstance(place, (CountLine, CountZone)):
            raise ArgumentError(f"counted is at a CountLine or a CountZone, got {type(place).__name__}")
        number = 1 + sum(each.kind == place.kind for each in found)
        found.append(place if place.name else type(place)(place.xy, f"{place.kind} {number}"))
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"two places are named {name!r}; give each a name of its own, with name=...")
    return found


def in_pixels(place: Place, image_wh: tuple[int, int]) -> tuple[tuple[float, float], ...]:
    """Points (x, y) of a place in a frame of that width and height."""
    width, height = image_wh if max(place.xy) <= 1 else (1, 1)
    return tuple((x * width, y * height) for x, y in zip(place.xy[::2], place.xy[1::2]))


def _split(text: str, kind: type[Place]) -> tuple[list[float], str]:
    numbers, _, name = as_text(text, f"a {kind.kind}").partition("name=")
    parts = [part.strip() for part in numbers.strip().rstrip(",").split(",")]
    if not all(re.fullmatch(r"[0-9]*\.?[0-9]+", part) for part in parts):
        raise ArgumentError(f"{shown(text)} is no {kind.kind} to count at; give {kind.usage}")
    return [float(part) for part in parts], name.strip()


def _check(place: Place, fewest: int, most: int) -> None:
    numbers = tuple(as_number(value, f"a coordinate of the {place.kind}", 0, _FARTHEST) for value in place.xy)
    if len(numbers) % 2 or not fewest <= len(numbers) // 2 <= most:
        raise ArgumentError(f"{len(numbers)} numbers make no {place.kind} to count at; give {place.usage}")
    points = set(zip(numbers[::2], numbers[1::2]))
    if len(points) < fewest:
        raise ArgumentError(f"the {place.kind} has fewer than {fewest} different points; give {place.usage}")
    name = as_text(place.name, "the name of a place")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise ArgumentError(f"the name {shown(name)} is not of 1 to {_LONGEST_NAME} printable characters")
    object.__setattr__(place, "xy", numbers)
