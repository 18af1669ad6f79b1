"""Reads a capture on behind what does not decode, and counts it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .capture import CaptureLike, Picture

_log = logging.getLogger(__name__)

#: Failures in a row that are the end, whatever a container says.
_NO_MORE = 100_000
#: A source that goes on losing frames is told of so often, seconds.
_TELL_EVERY_S = 60.0


class DamageLog:
    """Tells in the log of frames that do not decode: the first ones, then now and then, and how many in the end.

    Attributes:
        count: frames so far.
    """

    def __init__(self, name: str) -> None:
        """
        Args:
            name: name of the source.
        """
        self.count = 0
        self._name = name
        self._told = 0
        self._told_s = 0.0

    def add(self, frames: int, index: int) -> None:
        """So many frames before one did not decode.

        Args:
            frames: their number.
            index: index of the frame behind them.
        """
        self.count += frames
        now_s = time.monotonic()
        if self._told == 0 or now_s - self._told_s >= _TELL_EVERY_S:
            self._tell(f"{_frames(frames)} before frame {index} did not decode; reading on")
            self._told_s = now_s

    def finish(self) -> None:
        """Nothing more will come."""
        if self.count > self._told:
            self._tell(f"{_frames(self.count)} in all did not decode")

    def _tell(self, what: str) -> None:
        self._told = self.count
        _log.warning("%s: %s", self._name, what)


class Pictures:
    """The pictures of a capture with their indices; those that do not decode leave gaps.

    OpenCV says the same of a picture that does not decode, of the end and of a broken link. What is followed by a
    picture was damage; so many failures in a row, or for so long, are the end. Threads: one, but `close` may be called
    from another.

    Attributes:
        index: index that the next picture has when nothing fails.
        damage: those that did not decode.
    """

    def __init__(
        self, capture: CaptureLike, name: str, *, most_failures: int, longest_s: float, expected: int = 0, live: bool
    ) -> None:
        """
        Args:
            capture: an open capture; closed by `close`.
            name: name of the source.
            most_failures: failures in a row that are the end.
            longest_s: time of failures that is the end, seconds.
            expected: pictures there should be; before them the number of failures alone is not the end.
            live: failures before the first picture are a beginning between two key frames, and not counted.
        """
        self.index = 0
        self.damage = DamageLog(name)
        self._capture = capture
        self._most, self._longest_s = most_failures, longest_s
        self._expected = expected
        self._live = live
        self._closed = False

    def read(self) -> tuple[int, Picture] | None:
        """The next picture and its index; None at the end."""
        failures, until = 0, time.monotonic() + self._longest_s
        while (picture := self._capture.read()) is None:
            if self._closed or not self._capture.is_open:
                return None
            failures += 1
            if failures >= self._most and (self.index + failures >= self._expected or failures >= _NO_MORE):
                return None
            if time.monotonic() >= until:
                return None
        if self._closed:
            return None
        if failures and (self.index or not self._live):
            self.index += failures
            self.damage.add(failures, self.index + picture.skipped)
        self.index += picture.skipped + 1
        return self.index - 1, picture

    def ask(self, wants: Callable[[], bool] | None) -> None:
        """From now on, has pictures left out that are not wanted; their indices leave gaps."""
        self._capture.wants = wants

    def close(self) -> None:
        self._closed = True
        self._capture.close()


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"
