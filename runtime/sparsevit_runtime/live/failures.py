"""Levels that did not hold: when a governor may try one again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

#: A level is taken when this share of the target is expected to do; the rest is for jitter.
ROOM = 0.92
#: Seconds until a level that did not hold is tried again; twice as long after every failure, up to the second.
FIRST_WAIT_S, LONGEST_WAIT_S = 10.0, 160.0
#: ... unless the machine has become so much faster, compared at the same level and at another,
_FASTER = 0.85
_FASTER_AT_ANOTHER = 0.75
#: for this share of the wait, seconds at most: bursts of load that come and go at once are none the wiser.
_LASTING, _LASTING_MOST_S = 0.1, 3.0
#: A level that held for so many waits, and seconds, failed for another reason than the last time.
_HELD_WAITS, _HELD_S = 2.0, 10.0


@dataclass
class Failure:
    """A level that did not hold.

    Whether it would hold now is told from what was measured at it, and from how much faster the machine has become
    since at the levels that are run in its place. What levels cost compared with each other, which was measured before,
    does not tell: by that it should have held.

    Attributes:
        share: share of the target that its frames took; above 1.
        wait_s: seconds until it is tried again, come what may.
    """

    share: float
    wait_s: float
    _until_s: float
    #: Times that a run took longer than it was measured to, when a level was first run after the failure.
    _slowness: dict[int, float] = field(default_factory=dict)
    _faster_since_s: float = math.inf

    @classmethod
    def of(cls, share: float, now_s: float, held_s: float, before: Failure | None) -> Failure:
        """A failure now.

        Args:
            share: share of the target that the level's frames took.
            now_s: monotonic time in seconds.
            held_s: seconds that it held.
            before: its failure before this; None for the first.
        """
        wait_s = FIRST_WAIT_S
        if before is not None and held_s < max(_HELD_S, _HELD_WAITS * before.wait_s):
            wait_s = min(LONGEST_WAIT_S, 2 * before.wait_s)
        return cls(share, wait_s, now_s + wait_s)

    def see(self, level: int, slowness: float, now_s: float) -> None:
        """Takes how fast the machine is while another level is run.

        Args:
            level: the level in force, which was measured for long enough.
            slowness: times that a run takes longer there than it was measured to.
            now_s: monotonic time in seconds.
        """
        if level not in self._slowness:
            before = next(reversed(self._slowness.values()), slowness)
            self._slowness[level] = slowness if slowness > _FASTER_AT_ANOTHER * before else before
        if slowness / self._slowness[level] > min(_FASTER, ROOM / self.share):
            self._faster_since_s = math.inf
        else:
            self._faster_since_s = min(self._faster_since_s, now_s)

    def may_be_tried(self, now_s: float) -> bool:
        """Whether the level may be tried again at a monotonic time, seconds."""
        lasting_s = min(_LASTING_MOST_S, _LASTING * self.wait_s)
        return now_s >= self._until_s or now_s - self._faster_since_s >= lasting_s
