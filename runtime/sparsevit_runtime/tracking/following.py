"""Follows the objects of a session's sources, each source by itself."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..arguments import as_number
from ..errors import ArgumentError
from ..tasks.detection import Detections
from ..tasks.results import Result
from .counting import PlaceCounter, counter_of
from .places import Place, named
from .tracker import NO_ID, ByteTracker

if TYPE_CHECKING:
    from ..runner import Runner
    from ..sources.base import Source

#: Boxes of poorer scores are noise, also where tracks could go on with them.
_POOREST_SCORE = 0.1
#: Frames per second of a source that tells no rate.
_FALLBACK_FPS = 25.0
#: Times between frames, the newest, of which the median is the usual one.
_PERIODS = 9


@dataclass(frozen=True)
class Tracking:
    """How objects are followed.

    Attributes:
        lost_s: seconds for which an object that is not seen keeps its number.
        count: lines and zones at which objects are counted.
    """

    lost_s: float = 1.0
    count: Sequence[Place] = ()

    def __post_init__(self) -> None:
        as_number(self.lost_s, "lost_s", 0.0, 86400.0)
        if isinstance(self.count, (str, bytes)) or not isinstance(self.count, Sequence):
            raise ArgumentError(f"count is a list of lines and zones, got {type(self.count).__name__}")
        object.__setattr__(self, "count", tuple(named(self.count)))


def tracking_of(track: bool | Tracking) -> Tracking | None:
    """What callers say with True, False or a `Tracking`. Raises ArgumentError."""
    if isinstance(track, Tracking):
        return track
    if not isinstance(track, bool):
        raise ArgumentError(f"track is True, False or a Tracking, got {type(track).__name__}")
    return Tracking() if track else None


class _Moment(NamedTuple):
    """When a frame was, and how large."""

    frame_index: int
    timestamp_ns: int
    image_wh: tuple[int, int]


class Following:
    """The objects of one source.

    Threads: one, that which decodes.
    """

    def __init__(self, tracking: Tracking, threshold: float, source: Source) -> None:
        """
        Args:
            tracking: how objects are followed.
            threshold: least score of a detection that results have.
            source: source of the frames.
        """
        self._threshold = threshold
        self._tracking = tracking
        self._tracker = ByteTracker(threshold, tracking.lost_s)
        self._source = source
        self._counters: list[PlaceCounter[Any]] | None = None
        self._before: _Moment | None = None
        self._periods: deque[float] = deque(maxlen=_PERIODS)

    def follow(self, result: Detections) -> Detections:
        """The result with the number of each object and what was counted, and without detections below the threshold,
        which are asked for to follow what is half hidden."""
        start = time.perf_counter()
        if self._counters is None:
            self._counters = [counter_of(place, result.names) for place in self._tracking.count]
        if self._before is not None and self._before.image_wh != result.image_wh:  # nothing is where it was
            self._tracker.reset()
            for counter in self._counters:
                counter.reset()
        usual, seconds = self._period_s(), self._seconds(result)
        ids = self._tracker.update(result.xyxy, result.confidence, result.class_id, seconds, usual)
        self._before = _Moment(result.frame_index, result.timestamp_ns, result.image_wh)
        known = ids != NO_ID
        counts = tuple(
            counter.update(result.xyxy[known], result.class_id[known], ids[known], self._tracker.ids, result.image_wh)
            for counter in self._counters
        )
        spent_ms = (time.perf_counter() - start) * 1e3
        timings = replace(result.timings, postprocess_ms=result.timings.postprocess_ms + spent_ms)
        return replace(result, track_ids=ids, counts=counts, timings=timings)[result.confidence >= self._threshold]

    def _seconds(self, result: Result) -> float:
        """Time since the frame before. Frames that the caller brought have a time at which they were read, which says
        nothing of what they show: they count at the rate of the source."""
        before = self._before
        if before is None:
            return 0.0
        seconds = (result.timestamp_ns - before.timestamp_ns) / 1e9
        if seconds <= 0 or not (self._source.live or self._source.fps is not None):
            seconds = max(1, result.frame_index - before.frame_index) / (self._source.fps or _FALLBACK_FPS)
        self._periods.append(seconds)
        return seconds

    def _period_s(self) -> float:
        """Usual time between frames of late: a pause is none."""
        return float(np.median(self._periods)) if self._periods else 1.0 / (self._source.fps or _FALLBACK_FPS)


class Follower:
    """Follows the objects of every source of a session. Threads: one, that which decodes.

    Attributes:
        threshold: least score of the detections that it needs.
    """

    def __init__(self, tracking: Tracking, runner: Runner, threshold: float) -> None:
        """
        Args:
            tracking: how objects are followed.
            runner: runner of the model.
            threshold: least score of a detection that results have.

        Raises:
            ArgumentError: the model finds no objects.
            MissingDependencyError: what tracking needs is not installed.
        """
        if not issubclass(runner.task.result_type, Detections):
            raise ArgumentError(
                f"{runner.card.name} is a model for {runner.card.task}, which finds no objects that could be tracked "
                "or counted; leave tracking out, or load a model that detects"
            )
        ByteTracker(threshold, tracking.lost_s)  # says now what is not installed
        self.threshold = min(_POOREST_SCORE, threshold)
        self._tracking, self._least = tracking, threshold
        self._of_source: dict[str, Following] = {}

    def follow(self, name: str, source: Source, result: Result) -> Result:
        """The result of the next frame of a source, with numbers and counts."""
        if not isinstance(result, Detections):
            return result
        if name not in self._of_source:
            self._of_source[name] = Following(self._tracking, self._least, source)
        return self._of_source[name].follow(result)
