"""Trades sparsity for speed: chooses among levels so that frames meet a target on a machine whose speed changes."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import ArgumentError
from ..windows.level import Level

#: Frames of the last second, at most so many, say how fast the machine is now.
_WINDOW_S, _MOST_FRAMES = 1.0, 60
#: A level is taken when this share of the target is expected to do; the rest is for jitter.
_ROOM = 0.92
#: So many frames in a row beyond the target are no accident.
_IN_A_ROW = 2
#: Frames from which on the ninetieth percentile is more than the largest.
_ENOUGH = 10
#: Frames after a change that tell of its cost, not of the level.
_FIRST_USE = 1
#: Least seconds between a change and a step towards more windows.
_UP_EVERY_S = 1.0
#: A level that did not hold within so many seconds is not tried again for a while, twice as long each time.
_HELD_S, _LONGEST_BAN_S = 5.0, 60.0
#: ... unless the machine has become so much faster.
_FASTER = 0.85


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


class Governor:
    """Moves along a list of levels: down as soon as the target is missed, as far as it takes; up a step at a time.

    What a level costs is measured before (`measure_levels`); how much slower the machine is than it was then, from the
    frames. A level that did not hold is not tried again soon, so that nothing swings.

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
        self._over = self._unused = 0
        self._changed_s = -math.inf
        self._raised_s = -math.inf
        self._bans: dict[int, _Ban] = {}
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
            self._over = self._over + 1 if self._share([sample]) > 1 else 0
            share = self._share(list(self._samples))
            if self._over >= _IN_A_ROW or (len(self._samples) >= _ENOUGH and share > 1):
                return self._go_down(share, now_s)
            if len(self._samples) >= _ENOUGH or now_s - self._changed_s > 2 * _UP_EVERY_S:
                self._met = self._met or share <= 1
                return self._go_up(now_s)
            return False

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

    def _go_down(self, share: float, now_s: float) -> bool:
        last = len(self.levels) - 1
        if self._at == last:
            if self._met:
                self._met = False
                self._reason = f"{self._said(share)}, and no level is faster than this"
            return False
        if now_s - self._raised_s < _HELD_S:
            self._ban(self._at, now_s)
        samples = list(self._samples)
        to = next((i for i in range(self._at + 1, last) if self._share(samples, i) <= _ROOM), last)
        self._met = to < last or self._share(samples, to) <= 1
        reason = f"{self._said(share)} at {self.level}"
        self._move(to, reason if self._met else f"{reason}, and no level is faster than this", now_s)
        return True

    def _go_up(self, now_s: float) -> bool:
        to = self._at - 1
        if to < 0 or now_s - self._changed_s < _UP_EVERY_S:
            return False
        samples = list(self._samples)
        share = self._share(samples, to)
        if share > _ROOM or self._is_banned(to, now_s):
            return False
        if (why := self._held_back()) is not None:
            self._reason = f"no step up while the clocks are held back: {why}"
            return False
        self._raised_s = now_s
        self._move(to, f"{self._said(share)} expected at {self.levels[to]}", now_s)
        return True

    def _move(self, to: int, reason: str, now_s: float) -> None:
        self.changes["down" if to > self._at else "up"] += 1
        self._at, self._reason, self._changed_s = to, reason, now_s
        self._forget()

    def _forget(self) -> None:
        self._samples.clear()
        self._over, self._unused = 0, _FIRST_USE

    def _said(self, share: float) -> str:
        return f"{share:.0%} of {self.target}"

    def _slowness(self) -> float:
        """Times that a run takes longer than when the levels were measured."""
        runs = sorted(s.inference_ms for s in self._samples)
        return runs[len(runs) // 2] / self._costs[self._at]

    def _ban(self, at: int, now_s: float) -> None:
        before = self._bans.get(at)
        length_s = min(_LONGEST_BAN_S, 2 * before.length_s if before else _HELD_S)
        self._bans[at] = _Ban(now_s + length_s, length_s, self._slowness())

    def _is_banned(self, at: int, now_s: float) -> bool:
        """Whether a level, or one with fewer windows above the present one, failed lately at this speed."""
        ban = self._bans.get(at)
        if ban is None:
            return False
        if self._slowness() < _FASTER * ban.slowness:
            del self._bans[at]
            return False
        return now_s < ban.until_s


@dataclass(frozen=True)
class _Ban:
    """A level that did not hold: until when it is not tried, how long that is, and how slow the machine was."""

    until_s: float
    length_s: float
    slowness: float


def _ninetieth(values: Sequence[float]) -> float:
    """The ninetieth percentile; of few values the largest."""
    ordered = sorted(values)
    return ordered[math.ceil(0.9 * len(ordered)) - 1] if len(ordered) >= 10 else ordered[-1]
