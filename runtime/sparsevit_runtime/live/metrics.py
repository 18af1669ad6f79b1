"""What a session counts and times.

For every source, at any moment: captured = processed + dropped + failed + in flight. A frame that did not decode was
never captured: it is counted as damaged, apart from these.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from .channel import Closed


@dataclass(frozen=True)
class StageTime:
    """Times of one stage of the way of frames.

    Attributes:
        count: frames timed.
        total_ms: total ms of all of them together.
        last_ms: last ms of the newest.
        max_ms: max ms of the slowest.
    """

    count: int = 0
    total_ms: float = 0.0
    last_ms: float = 0.0
    max_ms: float = 0.0

    @property
    def mean_ms(self) -> float:
        return self.total_ms / self.count if self.count else 0.0

    def plus(self, ms: float) -> StageTime:
        """These times and one more."""
        return StageTime(self.count + 1, self.total_ms + ms, ms, max(self.max_ms, ms))


@dataclass(frozen=True)
class SourceMetrics:
    """A source's counts at one moment.

    Attributes:
        captured: frames it gave.
        processed: frames answered.
        dropped: frames given up: replaced by newer ones while the model was busy, or under way when the session was
            stopped.
        failed: frames that were no frames, or that the backend failed on.
        reconnects: times it came back after it was lost.
        last_frame_ns: wall clock at which the newest frame came, nanoseconds; None before the first.
        stages: times by stage: `capture`, `preprocess`, `inference`, `postprocess`, and `latency`, from the frame's
            arrival until its result is handed out.
        reconnect_reasons: `reconnects` by what was wrong before: ``silent``, nothing came in time, or ``broke``; empty
            for a source that nobody supervises.
        damaged: frames that did not decode; they are in none of the other counts, and their indices are left out.
    """

    captured: int = 0
    processed: int = 0
    dropped: int = 0
    failed: int = 0
    reconnects: int = 0
    last_frame_ns: int | None = None
    stages: Mapping[str, StageTime] = field(default_factory=dict)
    damaged: int = 0
    reconnect_reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def in_flight(self) -> int:
        """Frames on their way through the session."""
        return self.captured - self.processed - self.dropped - self.failed


@dataclass(frozen=True)
class OutletMetrics:
    """An outlet's counts at one moment.

    Attributes:
        written: results its target has taken.
        skipped: results replaced by newer ones while it was busy.
        waiting: results held for it, or by it for somebody who is away.
        error: error that it failed with; empty while it works.
        dropped: results that its target took and had to give up.
    """

    written: int = 0
    skipped: int = 0
    waiting: int = 0
    error: str = ""
    dropped: int = 0


@dataclass(frozen=True)
class SessionMetrics:
    """A session's counts, by name."""

    sources: Mapping[str, SourceMetrics]
    outlets: Mapping[str, OutletMetrics]


class Rate:
    """Frames per second of late: a running mean over about the last twenty. Threads: one."""

    _WEIGHT = 0.05

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._mean_s: float | None = None

    def tick(self, now_s: float) -> float | None:
        """A frame is done at that time; None with the first one, which tells no rate."""
        if self._last_s is not None:
            spent_s = max(now_s - self._last_s, 1e-6)
            self._mean_s = spent_s if self._mean_s is None else self._mean_s + self._WEIGHT * (spent_s - self._mean_s)
        self._last_s = now_s
        return None if self._mean_s is None else 1.0 / self._mean_s


class Counters:
    """The counts of one source, while they change.

    Threads: safe from any thread; a snapshot is of one moment.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captured = self._processed = self._dropped = self._failed = 0
        self._last_frame_ns: int | None = None
        self._stages: dict[str, StageTime] = {}
        self._sealed = False

    @property
    def dropped(self) -> int:
        """Frames given up so far."""
        return self._dropped

    def capture(self) -> None:
        """A frame has come.

        Raises:
            Closed: the counts are final.
        """
        with self._lock:
            if self._sealed:
                raise Closed
            self._captured += 1
            self._last_frame_ns = time.time_ns()

    def process(self, stages_ms: Mapping[str, float]) -> None:
        """A frame has been answered, after so many milliseconds in each stage."""
        with self._lock:
            self._processed += 1
            for name, ms in stages_ms.items():
                self._stages[name] = self._stages.get(name, StageTime()).plus(ms)

    def drop(self) -> None:
        """A frame was given up."""
        with self._lock:
            self._dropped += 1

    def fail(self) -> None:
        """A frame could not be answered."""
        with self._lock:
            self._failed += 1

    def seal(self) -> None:
        """Makes the counts final: a driver may still come back with a frame, and nobody is there to take it."""
        with self._lock:
            self._sealed = True

    def snapshot(self) -> SourceMetrics:
        with self._lock:
            return SourceMetrics(
                self._captured, self._processed, self._dropped, self._failed, last_frame_ns=self._last_frame_ns,
                stages=dict(self._stages),
            )  # fmt: skip
