"""Counts tracked objects that cross lines, and those in zones.

An object is where it touches the ground: at the middle of its box's lower edge. What happened between two sights of it
counts, however far apart they are, and a box that trembles on a line counts once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np

from ..tasks.counts import Counts
from .places import Place, in_pixels

#: An object has left a line or border behind when it is so far from it, as a share of its box's size.
_CLEAR = 0.05


class PlaceCounter(ABC):
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
        self._forget(set(alive.tolist()))
        for box, c, number in zip(xyxy.astype(float), class_id, ids):
            ground = (float(box[0] + box[2]) / 2, float(box[3]))
            clear = _CLEAR * float(box[2] - box[0] + box[3] - box[1]) / 2
            self._see(int(number), self._names[int(c)], ground, clear, points)
        return Counts(
            self._place.name, self._place.kind, points, dict(self._into), dict(self._out), dict(self._inside())
        )

    @abstractmethod
    def reset(self) -> None:
        """Forgets the objects, and not what was counted."""

    @abstractmethod
    def _forget(self, alive: set[int]) -> None: ...

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


class LineCounter(PlaceCounter):
    """Counts crossings of a line."""

    def __init__(self, place: Place, names: Sequence[str]) -> None:
        super().__init__(place, names)
        self._last: dict[int, tuple[float, float]] = {}  # where each was last clear of the line

    def reset(self) -> None:
        self._last.clear()

    def _forget(self, alive: set[int]) -> None:
        for number in self._last.keys() - alive:
            del self._last[number]

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
        last, self._last[number] = self._last.get(number), ground
        if last is None or (_side(start, end, last) < 0) == (side < 0):
            return
        if _side(last, ground, start) * _side(last, ground, end) <= 0:  # not beyond the line's ends
            (self._into if side < 0 else self._out)[name] += 1


class ZoneCounter(PlaceCounter):
    """Counts who comes into a zone and leaves it, and who is there."""

    def __init__(self, place: Place, names: Sequence[str]) -> None:
        super().__init__(place, names)
        self._is_in: dict[int, tuple[bool, str]] = {}

    def reset(self) -> None:
        self._is_in.clear()

    def _forget(self, alive: set[int]) -> None:
        for number in self._is_in.keys() - alive:
            del self._is_in[number]

    def _see(
        self,
        number: int,
        name: str,
        ground: tuple[float, float],
        clear: float,
        points: tuple[tuple[float, float], ...],
    ) -> None:
        distance = cv2.pointPolygonTest(np.array(points, np.float32), ground, True)  # above 0 inside
        was = self._is_in.get(number)
        if was is not None and abs(distance) < clear:
            return
        self._is_in[number] = distance >= 0, name
        if was is not None and was[0] != (distance >= 0):
            (self._into if distance >= 0 else self._out)[name] += 1

    def _inside(self) -> Counter[str]:
        return Counter(name for is_in, name in self._is_in.values() if is_in)


def counter_of(place: Place, names: Sequence[str]) -> PlaceCounter:
    """What counts at a place."""
    return (LineCounter if place.kind == "line" else ZoneCounter)(place, names)


def _side(start: tuple[float, float], end: tuple[float, float], point: tuple[float, float]) -> float:
    """Below 0 to the left of the way from start to end, as a picture shows it; times its length, in pixels."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
