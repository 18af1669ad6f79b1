"""When the pictures of a recording are shown: as far apart as their frames were."""

from __future__ import annotations

_SECOND_NS = 1_000_000_000
#: One tick of the clock that videos count with, 1/90000 s, and a little more, so that no two pictures share one.
SMALLEST_STEP_NS = 11_112
#: A time that goes back by more was set, and does not come of frames that overtook each other.
_SET_BACK_NS = _SECOND_NS


class Timeline:
    """Places results on a clock that begins with the first of them and only goes forward.

    A time that repeats or goes back is the smallest step behind the one before. After a clock that was set back the
    recording goes on from there. A result without a time (0, as when the caller brought the frame) comes as long after
    the one before as the rate says.

    Args:
        fps: rate of results without a time, frames per second.
    """

    def __init__(self, fps: float) -> None:
        self._step_ns = max(SMALLEST_STEP_NS, round(_SECOND_NS / fps))
        self._last: int | None = None
        self._offset = 0

    def place(self, timestamp_ns: int) -> int:
        """Nanoseconds from the first result to this one.

        Args:
            timestamp_ns: time of the frame, see `Result.timestamp_ns`.
        """
        if self._last is None:
            self._last, self._offset = 0, -timestamp_ns
            return 0
        if timestamp_ns == 0:
            at = self._last + self._step_ns
            self._offset = at
        else:
            at = timestamp_ns + self._offset
            if at < self._last - _SET_BACK_NS:
                self._offset = self._last + SMALLEST_STEP_NS - timestamp_ns
            at = max(timestamp_ns + self._offset, self._last + SMALLEST_STEP_NS)
        self._last = at
        return at
