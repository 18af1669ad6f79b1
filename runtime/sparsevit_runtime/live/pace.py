"""Which frames of a live source are worth decoding: those that will be run, or may be."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

#: Times of late that an estimate is made of; the worst of them but one counts.
_LAST = 8
#: The next frame may come so much later than that: a share of the period, and seconds.
_LATE, _LATE_S = 0.1, 0.002
#: The model may take one after so much less of its time.
_EARLY = 0.95
#: Frames are left out for no longer, seconds: whoever watches the source wants to see that it lives.
_LONGEST_S = 0.2


class Pace:
    """Says of each frame of a live source, before it is decoded, whether it is wanted.

    A model that takes fewer frames than a camera sends leaves most of them to be replaced in their mailbox, and
    decoding them takes from the model where it runs on the same cores. A frame is not wanted when the next one will be
    there, decoded and prepared, before the model takes one: then that one would replace it. So what is run is as fresh
    as if everything were decoded. When the model is waiting everything is wanted.

    Threads: safe from any.
    """

    def __init__(self, waiting: Callable[[], bool], clock: Callable[[], float] = time.perf_counter) -> None:
        """
        Args:
            waiting: tells whether whoever takes frames waits for one now.
            clock: tells seconds.
        """
        self._waiting, self._clock = waiting, clock
        self._lock = threading.Lock()
        self._periods: deque[float] = deque(maxlen=_LAST)
        self._delays: deque[float] = deque(maxlen=_LAST)
        self._intervals: deque[float] = deque(maxlen=_LAST)
        self._came_s: float | None = None
        self._wanted_s: float | None = None
        self._taken_s: float | None = None

    def wants(self) -> bool:
        """A frame has come: whether it should be decoded."""
        now_s = self._clock()
        with self._lock:
            if self._came_s is not None:
                self._periods.append(now_s - self._came_s)
            self._came_s = now_s
            wanted = self._waiting() or not self._next_is_in_time(now_s)
            if wanted:
                self._wanted_s = now_s
            return wanted

    def prepared(self) -> None:
        """The frame that was wanted last is ready to be taken."""
        with self._lock:
            if self._wanted_s is not None:
                self._delays.append(self._clock() - self._wanted_s)

    def taken(self) -> None:
        """A frame was taken."""
        now_s = self._clock()
        with self._lock:
            if self._taken_s is not None:
                self._intervals.append(now_s - self._taken_s)
            self._taken_s = now_s

    def _next_is_in_time(self, now_s: float) -> bool:
        known = (self._periods, self._delays, self._intervals)
        if any(len(each) < _LAST for each in known) or self._taken_s is None or self._wanted_s is None:
            return False
        if now_s - self._wanted_s >= _LONGEST_S:
            return False
        period_s, delay_s = sorted(self._periods)[-2], sorted(self._delays)[-2]
        ready_s = now_s + period_s * (1 + _LATE) + _LATE_S + delay_s
        return ready_s < self._taken_s + _EARLY * sorted(self._intervals)[1]
