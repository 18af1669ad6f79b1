"""Counts tracked objects that cross lines, and those in zones.

An object is where it touches the ground: at the middle of its box's lower edge. What happened between two sights of it
counts, however far apart they are, and a box that trembles on a line counts once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import cv2
import numpy as np

from ..tasks.counts import Counts
from .places import Place, in_pixels

#: An object has left a line or border behind when it is so far from it, as a share of its box's size.
_CLEAR = 0.05


#: What is remembered of an object.
_Seen = TypeVar("_Seen")


class PlaceCounter(ABC, Generic[_Seen]):
    """Counts at one place of one source. Threads: one."""

    def __init__(self, place: Place, names: Sequence[str]) -> None:
        """
        Args:
            place: place, with a name.
            names: names of the classes.
        """
        self._place, self._names = place, names
        self._into: Counter[str] = Counter()
        self._out: Counter[str] = Counter()
        self._seen: dict[int, _Seen] = {}  # by the object's number

    def update(
        self, xyxy: np.ndarray, class_id: np.ndarray, ids: np.ndarray, alive: np.ndarray, image_wh: tuple[int, int]
    ) -> Counts:
        """The objects of the next frame.

        Args:
            xyxy: (N, 4) corners in pixels.
            class_id: (N,) classes.
            ids: (N,) numbers.
            alive: (M,) numbers of all tracks; of others nothing is remembered.
            image_wh: width and height of the frame.
        """
        points = in_pixels(self._place, image_wh)
        for number in self._seen.keys() - set(alive.tolist()):
            del self._seen[number]
        for box, c, number in zip(xyxy.astype(float), class_id, ids):
            ground = (float(box[0] + box[2]) / 2, float(box[3]))
            clear = _CLEAR * float(box[2] - box[0] + box[3] - box[1]) / 2
            self._see(int(number), self._names[int(c)], ground, clear, points)
        return Counts(
            self._place.name, self._place.kind, points, dict(self._into), dict(self._out), dict(self._inside())
        )

    def reset(self) -> None:
        """Forgets the objects, and not what was counted."""
        self._seen.clear()

    @abstractmethod
    def _see(
        self,
        number: int,
        name: str,
        ground: tuple[float, float],
        clear: float,
        points: tuple[tuple[float, float], ...],
    ) -> None: ...

    def _inside(self) -> Counter[str]:
        return Counter()


class LineCounter(PlaceCounter[tuple[float, float]]):
    """Counts crossings of a line. Of an object it remembers where it was last clear of the line."""

    def _see(
        self,
        number: int,
        name: str,
        ground: tuple[float, float],
        clear: float,
        points: tuple[tuple[float, float], ...],
    ) -> None:
        start, end = points
        length = max(float(np.hypot(end[0] - start[0], end[1] - start[1])), 1e-9)
        side = _side(start, end, ground)
        if abs(side) / length < clear:
            return
        last, self._seen[number] = self._seen.get(number), ground
        if last is None or (_side(start, end, last) < 0) == (side < 0):
            return
        if _side(last, ground, start) * _side(last, ground, end) <= 0:  # not beyond the line's ends
            (self._into if side < 0 else self._out)[name] += 1


class ZoneCounter(PlaceCounter[tuple[bool, str]]):
    """Counts who comes into a zone and leaves it, and who is there. Of an object it remembers whether it was inside,
    and its class."""

    def _see(
        self,
        number: int,
        name: str,
        ground: tuple[float, float],
        clear: float,
        points: tuple[tuple[float, float], ...],
    ) -> None:
        distance = cv2.pointPolygonTest(np.array(points, np.float32), ground, True)  # above 0 inside
        was = self._seen.get(number)
        if was is not None and abs(distance) < clear:
            return
        self._seen[number] = distance >= 0, name
        if was is not None and was[0] != (distance >= 0):
            (self._into if distance >= 0 else self._out)[name] += 1

    def _inside(self) -> Counter[str]:
        return Counter(name for is_in, name in self._seen.values() if is_in)


def counter_of(place: Place, names: Sequence[str]) -> PlaceCounter[Any]:
    """What counts at a place."""
    return LineCounter(place, names) if place.kind == "line" else ZoneCounter(place, names)


def _side(start: tuple[float, float], end: tuple[float, float], point: tuple[float, float]) -> float:
    """Below 0 to the left of the way from start to end, as a picture shows it; times its length, in pixels."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
