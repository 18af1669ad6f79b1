"""Clocks of frames: the decoder's position in a file, and the wall clock at which a live frame came."""

from __future__ import annotations

import time

#: Longest position that is believed, milliseconds: a hundred years. Some containers without times tell nonsense.
_LONGEST_MS = 100 * 365 * 24 * 3600 * 1e3


def media_ns(position_ms: float) -> int | None:
    """A decoder's position, milliseconds, in nanoseconds; None for what cannot be one."""
    return round(position_ms * 1e6) if 0 <= position_ms < _LONGEST_MS else None


class MediaClock:
    """Times of a file's frames, which never go back.

    The decoder's positions are taken as they are. Where they stand still or go back, as in joined recordings or
    containers without times, one period of the nominal rate lies between two frames, and later positions count from
    there. Threads: one.
    """

    def __init__(self, fps: float) -> None:
        """
        Args:
            fps: nominal frames per second.
        """
        self._period_ns = 1e9 / fps
        self._last_ns: int | None = None
        self._offset_ns = 0

    @property
    def last_ns(self) -> int:
        """The time of the last frame in nanoseconds."""
        return self._last_ns or 0

    def stamp(self, position_ns: int | None, steps: int = 1) -> int:
        """The time of the next frame in nanoseconds.

        Args:
            position_ns: position that the decoder tells; None when it tells none.
            steps: frames since the one before, those that did not decode included.
        """
        if self._last_ns is None:
            stamp = round((steps - 1) * self._period_ns) if position_ns is None else position_ns
        else:
            expected = self._last_ns + round(steps * self._period_ns)
            stamp = expected if position_ns is None else position_ns + self._offset_ns
            if stamp <= self._last_ns:
                stamp = expected
        if position_ns is not None:
            self._offset_ns = stamp - position_ns
        self._last_ns = stamp
        return stamp


class WallClock:
    """The system's clock, which goes on at its pace when it is set back, until the set clock has caught up.

    Threads: one.
    """

    def __init__(self) -> None:
        self._last_ns = 0
        self._last_s = 0.0

    def stamp(self, wall_ns: int | None = None) -> int:
        """The time in nanoseconds since 1970 in UTC, never before the last one.

        Args:
            wall_ns: moment that the system's clock showed just now; None to look at it.
        """
        now_s = time.monotonic()
        stamp = time.time_ns() if wall_ns is None else wall_ns
        if stamp < self._last_ns:
            stamp = self._last_ns + round((now_s - self._last_s) * 1e9)
        self._last_ns, self._last_s = stamp, now_s
        return stamp
