"""Trades sparsity for speed: chooses among levels so that frames meet a target on a machine whose speed changes."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from ..errors import ArgumentError
from ..windows.level import Level
from .failures import ROOM as _ROOM
from .failures import Failure

#: Frames of so many seconds, at most so many, say how fast the machine is now. In a second of ten frames, two that are
#: late make a ninetieth percentile beyond the target, by chance every few seconds.
_WINDOW_S, _MOST_FRAMES = 3.0, 90
#: So many frames in a row beyond the target are no accident, when so many seconds lie between the first and the last;
#: something else that held them up, a write to a disk, is over by then.
_IN_A_ROW, _IN_A_ROW_S = 3, 0.15
#: Fewer frames beyond the target than so many are chance.
_FEWEST_OVER = 4
#: Frames from which on the ninetieth percentile is more than the largest.
_ENOUGH = 10
#: Frames after a change that tell of its cost, not of the level.
_FIRST_USE = 1
#: Levels passed at once when some frames are beyond the target and others between them are not.
_MOST_LEVELS = 2
#: A step up that fails within so many seconds is taken back.
_TAKEN_BACK_S = 5.0
#: Least seconds between a change and a step towards more windows.
_UP_EVERY_S = 1.0


@dataclass(frozen=True)
class Target:
    """What frames should meet. At least one of both.

    Attributes:
        latency_ms: longest time from a frame's arrival until its result is handed out, for nine frames of ten.
        fps: frames per second that the model takes.
    """

    latency_ms: float | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.latency_ms is None and self.fps is None:
            raise ArgumentError("a target needs a latency in milliseconds or frames per second")
        for name, value in (("latency_ms", self.latency_ms), ("fps", self.fps)):
            if value is not None and not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise ArgumentError(f"{name} is {value!r}; a target is a number above 0")

    def __str__(self) -> str:
        parts = [f"{self.latency_ms:g} ms"] if self.latency_ms is not None else []
        return " and ".join([*parts, f"{self.fps:g} frames/s"] if self.fps is not None else parts)


@dataclass(frozen=True)
class _Sample:
    at_s: float
    latency_ms: float
    inference_ms: float


@dataclass(frozen=True)
class _Late:
    """The last frames in a row beyond the target: how many, since when, and the one that is least so."""

    count: int
    since_s: float
    least: _Sample


class Governor:
    """Moves along a list of levels: down as soon as the target is missed, as far as it takes; up a step at a time.

    What a level costs is measured before (`measure_levels`); how much slower the machine is than it was then, from the
    frames. A level that did not hold is tried again when what was measured at it says that it will now, and else more
    and more seldom (`Failure`), so that nothing swings.

    Threads: safe from any thread.

    Attributes:
        target: what is to be met.
        levels: from most windows to fewest.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        costs_ms: Sequence[float],
        target: Target,
        *,
        held_back: Callable[[], str | None] = lambda: None,
    ) -> None:
        """
        Args:
            levels: levels to choose from, in any order.
            costs_ms: inference time of each in milliseconds, all measured under the same conditions.
            target: what is to be met.
            held_back: says what holds the device's clocks back at this moment, or None; while something does, no step
                up is made, which would heat the device on.

        Raises:
            ArgumentError: no levels, or not one cost above 0 for each.
        """
        if not levels or len(levels) != len(costs_ms) or not all(0 < cost < math.inf for cost in costs_ms):
            raise ArgumentError(f"a governor needs levels, and a cost above 0 of each; got {len(levels)}, {costs_ms}")
        order = sorted(range(len(levels)), key=lambda i: -levels[i].window_share)
        self.target = target
        self.levels = tuple(levels[i] for i in order)
        # Measured, so that a level with fewer windows may seem slower; to go down must never promise less.
        self._costs = [min(costs_ms[j] for j in order[: i + 1]) for i in range(len(order))]
        self._held_back = held_back
        self._lock = threading.Lock()
        self._enabled = True
        self._at = 0
        self._reason = f"start, for {target}"
        self._samples: deque[_Sample] = deque(maxlen=_MOST_FRAMES)
        self._late: _Late | None = None
        self._unused = 0
        self._changed_s = -math.inf
        self._went_up = False
        self._failures: dict[int, Failure] = {}
        self._met = True
        self.changes = {"up": 0, "down": 0}

    @property
    def level(self) -> Level:
        """The level to run the next frame at."""
        return self.levels[self._at]

    @property
    def reason(self) -> str:
        """Why it is that one, for people."""
        return self._reason

    @property
    def met(self) -> bool:
        """Whether some level is expected to meet the target; when not, it runs the one with the fewest windows."""
        return self._met

    @property
    def enabled(self) -> bool:
        """Whether it changes anything. Switched off it keeps the level that it has."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        with self._lock:
            self._enabled = bool(enabled)
            self._forget()

    def observe(self, level: Level, latency_ms: float, inference_ms: float, now_s: float) -> bool:
        """Takes what a frame cost.

        Args:
            level: level that it ran at; frames of another than the one in force say nothing about it.
            latency_ms: time from its arrival until its result was handed out.
            inference_ms: time of the backend's run.
            now_s: monotonic time in seconds.

        Returns:
            Whether the level has changed.
        """
        with self._lock:
            if not self._enabled or level != self.level:
                return False
            if self._unused > 0:
                self._unused -= 1
                return False
            sample = _Sample(now_s, latency_ms, inference_ms)
            self._samples.append(sample)
            while self._samples and self._samples[0].at_s < now_s - _WINDOW_S:
                self._samples.popleft()
            self._late = self._late_with(sample)
            if self._late is not None and self._late.count >= _IN_A_ROW and now_s - self._late.since_s >= _IN_A_ROW_S:
                # The least of them: what one of them was held up by besides is no level's cost.
                return self._go_down([self._late.least], now_s)
            samples = list(self._samples)
            enough, share = len(samples) >= _ENOUGH, self._share(samples)
            if enough and share > 1 and sum(self._share([each]) > 1 for each in samples) >= _FEWEST_OVER:
                return self._go_down(samples, now_s, most=_MOST_LEVELS)
            if enough or now_s - self._changed_s > 2 * _UP_EVERY_S:
                self._met = self._met or share <= 1
                slowness = median(each.inference_ms for each in samples) / self._costs[self._at]
                for at in range(self._at):
                    if (failure := self._failures.get(at)) is not None:
                        failure.see(self._at, slowness, now_s)
                return self._go_up(samples, now_s)
            return False

    def _late_with(self, sample: _Sample) -> _Late | None:
        share, before = self._share([sample]), self._late
        if share <= 1:
            return None
        if before is None:
            return _Late(1, sample.at_s, sample)
        least = sample if share < self._share([before.least]) else before.least
        return _Late(before.count + 1, before.since_s, least)

    def _share(self, samples: Sequence[_Sample], at: int | None = None) -> float:
        """Share of the target that nine frames of ten take, at another level by what that one costs."""
        scale = 1.0 if at is None else self._costs[at] / self._costs[self._at]
        latencies = [s.latency_ms - s.inference_ms * (1 - scale) for s in samples]
        runs = [s.inference_ms * scale for s in samples]
        shares = [0.0]
        if self.target.latency_ms is not None:
            shares.append(_ninetieth(latencies) / self.target.latency_ms)
        if self.target.fps is not None:  # many frames share one second: their mean counts
            shares.append(sum(runs) / len(runs) * self.target.fps / 1e3)
        return max(shares)

    def _go_down(self, samples: Sequence[_Sample], now_s: float, most: int | None = None) -> bool:
        last, share = len(self.levels) - 1, self._share(samples)
        if self._at == last:
            if self._met:
                self._met = False
                self._reason = f"{self._said(share)}, and no level is faster than this"
            return False
        self._failures[self._at] = Failure.of(share, now_s, now_s - self._changed_s, self._failures.get(self._at))
        to = self._where_to(samples, last if most is None else min(last, self._at + most), now_s)
        self._met = to < last or self._share(samples, to) <= 1
        reason = f"{self._said(share)} at {self.level}"
        self._move(to, reason if self._met else f"{reason}, and no level is faster than this", now_s)
        return True

    def _where_to(self, samples: Sequence[_Sample], end: int, now_s: float) -> int:
        """The first level below that is expected to hold, `end` at the latest."""
        came_s = now_s - self._changed_s
        if self._went_up and came_s < _TAKEN_BACK_S and self._share(samples, self._at + 1) <= 1:
            return self._at + 1  # it held until then
        return next((i for i in range(self._at + 1, end) if self._share(samples, i) <= _ROOM), end)

    def _go_up(self, samples: Sequence[_Sample], now_s: float) -> bool:
        to = self._at - 1
        if to < 0 or now_s - self._changed_s < _UP_EVERY_S:
            return False
        failure, share = self._failures.get(to), self._share(samples, to)
        if share > _ROOM or (failure is not None and not failure.may_be_tried(now_s)):
            return False
        if (why := self._held_back()) is not None:
            self._reason = f"no step up while the clocks are held back: {why}"
            return False
        self._move(to, f"{self._said(share)} expected at {self.levels[to]}", now_s)
        return True

    def _move(self, to: int, reason: str, now_s: float) -> None:
        self._went_up = to < self._at
        self.changes["up" if self._went_up else "down"] += 1
        self._at, self._reason, self._changed_s = to, reason, now_s
        self._forget()

    def _forget(self) -> None:
        self._samples.clear()
        self._late, self._unused = None, _FIRST_USE

    def _said(self, share: float) -> str:
        return f"{share:.0%} of {self.target}"


def _ninetieth(values: Sequence[float]) -> float:
    """The ninetieth percentile; of few values the largest."""
    ordered = sorted(values)
    return ordered[math.ceil(0.9 * len(ordered)) - 1] if len(ordered) >= 10 else ordered[-1]
