"""Figures of the newest results of each camera: what plots and histograms are made of."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...tasks import Result
from ...tasks.counts import Counts

#: Upper ends of the histogram of frame ages, seconds.
AGE_BUCKETS_S = (0.01, 0.02, 0.033, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
#: Results that percentiles are taken over, and points of a plot with the seconds between them.
_RECENT, _POINTS, _EVERY_S = 60, 120, 0.5
#: A timestamp so near the wall clock is one of it, seconds; others count from the start of a file.
_SAME_CLOCK_S = 3600.0


@dataclass
class _Camera:
    newest: Result | None = None
    came_s: float = 0.0
    has_picture: bool = True
    latency_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    age_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    buckets: list[int] = field(default_factory=lambda: [0] * (len(AGE_BUCKETS_S) + 1))
    age_total_s: float = 0.0
    history: deque[list[float | None]] = field(default_factory=lambda: deque(maxlen=_POINTS))
    noted_s: float = 0.0


@dataclass(frozen=True)
class Ages:
    """Histogram of frame ages: how old frames were when their results came here.

    Attributes:
        counts: results in each bucket of `AGE_BUCKETS_S`, and beyond.
        total_s: total of all, seconds.
    """

    counts: tuple[int, ...]
    total_s: float


class Figures:
    """Keeps figures by camera. Threads: safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cameras: dict[str, _Camera] = {}

    def take(self, camera: str, result: Result, has_picture: bool = True) -> None:
        """Counts a result, now; one of a frame on the GPU has no picture."""
        now, age_ms = time.monotonic(), _age_ms(result)
        with self._lock:
            mine = self._cameras.setdefault(camera, _Camera())
            mine.newest, mine.came_s, mine.has_picture = result, now, has_picture
            mine.arrivals_s.append(now)
            mine.latency_ms.append(_latency_ms(result))
            mine.age_ms.append(age_ms)
            mine.buckets[sum(age_ms / 1e3 > end for end in AGE_BUCKETS_S)] += 1
            mine.age_total_s += age_ms / 1e3
            if now - mine.noted_s >= _EVERY_S:
                mine.noted_s = now
                mine.history.append(_point(mine, now))

    def clear(self) -> None:
        """Forgets all cameras."""
        with self._lock:
            self._cameras.clear()

    def ages(self) -> dict[str, Ages]:
        """Histograms by camera."""
        with self._lock:
            return {name: Ages(tuple(each.buckets), each.age_total_s) for name, each in self._cameras.items()}

    def say(self, camera: str) -> dict[str, Any]:
        """Figures of a camera, ready for JSON; empty before the first result, `fps` None before the second."""
        now = time.monotonic()
        with self._lock:
            mine = self._cameras.get(camera)
            if mine is None or mine.newest is None:
                return {}
            fps, latency_ms, p95_ms, age_ms, _ = _point(mine, now)
            newest, seconds, has_picture = mine.newest, now - mine.came_s, mine.has_picture
        return {
            "fps": fps,
            "latency_ms": latency_ms,
            "latency_p95_ms": p95_ms,
            "age_ms": age_ms,
            "has_picture": has_picture,
            "frame": newest.frame_index,
            "frame_seconds_ago": round(seconds, 3),
            "size_wh": list(newest.image_wh),
            "timings": newest.timings.to_dict(),
            "window_share": round(newest.window_share, 4),
            "keep": None if newest.keep is None else list(newest.keep),
            "counts": [each.to_dict() for each in getattr(newest, "counts", ())],
        }

    def counts(self) -> dict[str, Sequence[Counts]]:
        """Objects counted so far, by camera."""
        with self._lock:
            return {name: getattr(each.newest, "counts", ()) for name, each in self._cameras.items()}

    def history(self, camera: str) -> list[list[float | None]]:
        """Points of the plots, oldest first, half a second apart: fps, latency, its 95th percentile and age in
        milliseconds, share of windows computed."""
        with self._lock:
            return list(self._cameras[camera].history) if camera in self._cameras else []


def _latency_ms(result: Result) -> float:
    """Time from the frame to its result, without waiting for the frame."""
    return result.timings.total_ms - result.timings.capture_ms


def _age_ms(result: Result) -> float:
    """How old a frame is, by its camera's clock; of a file, how long its result took."""
    age_ns = time.time_ns() - result.timestamp_ns
    if abs(age_ns) < _SAME_CLOCK_S * 1e9:
        return max(0.0, age_ns / 1e6)
    return _latency_ms(result)


def _point(camera: _Camera, now: float) -> list[float | None]:
    recent = [moment for moment in camera.arrivals_s if now - moment <= 2.0]
    fps: float | None = 0.0
    if len(camera.arrivals_s) < 2:
        fps = None
    elif len(recent) > 1 and recent[-1] > recent[0]:
        fps = round((len(recent) - 1) / (recent[-1] - recent[0]), 2)
    latency = [float(value) for value in np.percentile(camera.latency_ms, (50, 95))]
    age = float(np.median(camera.age_ms))
    share = 1.0 if camera.newest is None else camera.newest.window_share
    return [fps, *(round(value, 2) for value in (*latency, age)), round(share, 4)]
