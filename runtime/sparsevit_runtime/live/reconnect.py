"""When a live source is opened anew."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, replace

from ..arguments import as_flag, as_number, as_whole
from ..sources.base import Timeouts

#: A wait doubles with every attempt until it is as long as the policy allows; beyond this many it is.
_MOST_DOUBLINGS = 32
#: A driver that gives up by itself leaves no thread behind: its limits are this share of those for the watchdog.
_DRIVERS_SHARE = 0.75
#: Longer than anybody waits; what waits is a lock, which takes no more than some 292 years.
_LONGEST_S = 1e9


@dataclass(frozen=True)
class Reconnect:
    """When a live source is opened anew, and how patiently.

    Attributes:
        open_timeout_s: longest wait until the source is open; it is given up then.
        read_timeout_s: longest wait for a frame; the source is given up then.
        first_wait_s: wait before the first attempt to come back; it doubles with every further one.
        longest_wait_s: longest of these waits.
        jitter: share by which waits differ at random, 0 to 1, so that many cameras do not come back at one moment.
        attempts: attempts in a row without a frame, before the source counts as lost for good; 0 for none at all, None
            for ever.
        most_hanging: calls that may be left behind without having returned; with so many the next opening waits for
            one of them.
        before_first: whether the rule holds for a source that was never there, as a camera that boots later than the
            robot; without, what cannot be opened at first is an error at once.
    """

    open_timeout_s: float = 15.0
    read_timeout_s: float = 10.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 10.0
    jitter: float = 0.2
    attempts: int | None = None
    most_hanging: int = 8
    before_first: bool = True

    def __post_init__(self) -> None:
        """Raises ArgumentError for what is no time, share or number."""
        for name in ("open_timeout_s", "read_timeout_s", "first_wait_s", "longest_wait_s"):
            as_number(getattr(self, name), name, 0.0, _LONGEST_S)
        as_number(self.jitter, "jitter", 0.0, 1.0)
        if self.attempts is not None:
            as_whole(self.attempts, "attempts", 0, sys.maxsize)
        as_whole(self.most_hanging, "most_hanging", 1, sys.maxsize)
        as_flag(self.before_first, "before_first")

    @property
    def timeouts(self) -> Timeouts:
        """Limits for the driver itself, which is to give up before it is left."""
        return Timeouts(_DRIVERS_SHARE * self.open_timeout_s, _DRIVERS_SHARE * self.read_timeout_s)

    def within(self, timeout_s: float) -> Reconnect:
        """The same with one limit for opening and for each frame, seconds."""
        return replace(self, open_timeout_s=timeout_s, read_timeout_s=timeout_s)

    def wait_s(self, attempt: int) -> float:
        """Seconds before an attempt, counted from 1."""
        wait = min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
        return wait * random.uniform(1 - self.jitter, 1 + self.jitter)


#: For a source named by its address, unless told otherwise: a first failure is told at once, and after a break about a
#: quarter of a minute is waited for its return.
BRIEF = Reconnect(open_timeout_s=12.0, read_timeout_s=8.0, longest_wait_s=8.0, attempts=5, before_first=False)
