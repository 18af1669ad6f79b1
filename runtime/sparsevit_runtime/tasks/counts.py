"""What was counted at a line or in a zone, and its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from ..images.annotate import line_height, line_width, write_tag

_COLOR = (80, 220, 255)  # BGR
_SHADOW = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Counts:
    """Objects counted at one place, from the start of the stream to this frame, by the names of their classes.

    Attributes:
        name: name of the place.
        kind: ``line`` or ``zone``.
        points: points (x, y) in pixels of the frame: two of a line, the corners of a zone.
        into: count of those that crossed the line to its left side, seen from its first point to its second, or came
            over the border of the zone.
        out: count of those that went the other way.
        inside: count of those in the zone at this moment; empty for a line.
    """

    name: str
    kind: str
    points: tuple[tuple[float, float], ...]
    into: Mapping[str, int] = field(default_factory=dict)
    out: Mapping[str, int] = field(default_factory=dict)
    inside: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"in {sum(self.into.values())}", f"out {sum(self.out.values())}"]
        parts += [f"inside {sum(self.inside.values())}"] if self.kind == "zone" else []
        return f"{self.name}: {', '.join(parts)}"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: name, kind, and by class `in`, `out` and, of a zone, `inside`."""
        told = {"name": self.name, "kind": self.kind, "in": dict(self.into), "out": dict(self.out)}
        return told | ({"inside": dict(self.inside)} if self.kind == "zone" else {})


def draw_counts(canvas: np.ndarray, counts: Sequence[Counts]) -> None:
    """Draws lines, with an arrow that points in, zones, and what was counted there, in place.

    Args:
        canvas: (H, W, 3) uint8 BGR.
        counts: counts of that frame.
    """
    for each in counts:
        points = np.rint(np.array(each.points)).astype(np.int32)  # (P, 2)
        lines = [points] if each.kind == "zone" else [points, *_arrow(each.points, line_height(canvas))]
        for color, width in ((_SHADOW, 3 * line_width(canvas)), (_COLOR, line_width(canvas))):
            cv2.polylines(canvas, lines, each.kind == "zone", color, width, cv2.LINE_AA)
        text = str(each).encode("ascii", "replace").decode()
        corner = points.min(axis=0) if each.kind == "zone" else points.mean(axis=0)
        write_tag(canvas, text, (float(corner[0]), float(corner[1])), _COLOR)


def _arrow(points: tuple[tuple[float, float], ...], length: int) -> list[np.ndarray]:
    """Strokes of an arrow from the first quarter of a line to its left."""
    start, end = np.array(points)
    along = (end - start) / max(float(np.hypot(*(end - start))), 1e-9)
    left = np.array([along[1], -along[0]])
    foot = start + (end - start) / 4
    tip = foot + left * length
    barbs = [tip - length / 3 * (left + side * along) for side in (-1, 1)]
    strokes = ([foot, tip], [barbs[0], tip, barbs[1]])
    return [np.rint(np.array(stroke)).astype(np.int32) for stroke in strokes]
