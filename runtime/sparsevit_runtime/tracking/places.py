"""Lines and zones at which tracked objects are counted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..arguments import as_number, as_text
from ..errors import ArgumentError
from ..texts import shown

if TYPE_CHECKING:
    from typing_extensions import Self

#: No frame has more pixels in a row or column.
_FARTHEST = 1e5
_LONGEST_NAME = 40
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+")


@dataclass(frozen=True)
class Place:
    """Where is counted: base of `CountLine` and `CountZone`.

    Attributes:
        xy: numbers x, y, x, y, ... from the upper left corner: shares of the frame where none is above 1, else pixels.
        name: name in results; the kind and a number, such as ``line 1``, when empty.
    """

    xy: Sequence[float]
    name: str = ""

    kind: ClassVar[str]
    usage: ClassVar[str]
    fewest: ClassVar[int]
    most: ClassVar[int]

    def __post_init__(self) -> None:
        numbers = tuple(as_number(value, f"a coordinate of the {self.kind}", 0, _FARTHEST) for value in self.xy)
        if len(numbers) % 2 or not self.fewest <= len(numbers) // 2 <= self.most:
            raise ArgumentError(f"{len(numbers)} numbers make no {self.kind} to count at; give {self.usage}")
        points = set(zip(numbers[::2], numbers[1::2]))
        if len(points) < self.fewest:
            raise ArgumentError(f"the {self.kind} has fewer than {self.fewest} different points; give {self.usage}")
        name = as_text(self.name, "the name of a place")
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise ArgumentError(f"the name {shown(name)} is not of 1 to {_LONGEST_NAME} printable characters")
        object.__setattr__(self, "xy", numbers)

    @classmethod
    def parse(cls, text: str) -> Self:
        """A place from a text, see `usage`. Raises ArgumentError."""
        numbers, _, name = as_text(text, f"a {cls.kind}").partition("name=")
        parts = [part.strip() for part in numbers.strip().rstrip(",").split(",")]
        if not all(map(_NUMBER.fullmatch, parts)):
            raise ArgumentError(f"{shown(text)} is no {cls.kind} to count at; give {cls.usage}")
        return cls([float(part) for part in parts], name.strip())


class CountLine(Place):
    """A line from (x1, y1) to (x2, y2). Whoever crosses it to the left, seen from the first point to the second, goes
    in; the others go out. ``CountLine.parse("0,0.5,1,0.5,name=gate")`` reads one."""

    kind, fewest, most = "line", 2, 2
    usage = "x1,y1,x2,y2 and, after a comma, name=... as in 0,0.5,1,0.5,name=gate"


class CountZone(Place):
    """A polygon of three corners or more. ``CountZone.parse("0,0,0.5,0,0.5,1,name=left")`` reads one."""

    kind, fewest, most = "zone", 3, 1000
    usage = "x,y of three corners or more and, after a comma, name=... as in 0,0,0.5,0,0.5,1,name=left"


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
