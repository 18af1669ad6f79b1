"""What a command that runs for months does about its memory."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable

#: Seconds between two returns of memory that nobody uses.
_EVERY_S = 60.0


def settle() -> None:
    """Has the garbage collector pass over what is there now, the libraries above all: with it a full collection holds
    every thread up for a tenth of a second, and frames with it. What lay in earlier calls' is looked at again first."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    give_back()


def give_back() -> None:
    """Gives pages that nobody uses back to the system, where the C library is glibc.

    What threads of sources and sinks allocate lies scattered when they have ended, and glibc gives back only what lies
    at the end of its heaps: without this a process grows for hours by what its reconnects and new files leave between.
    A fraction of a millisecond where there is little to give.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


class Upkeep:
    """Gives memory back now and then. Threads: one."""

    def __init__(self, every_s: float = _EVERY_S) -> None:
        """
        Args:
            every_s: seconds between two times.
        """
        self._every_s, self._done_s = every_s, time.monotonic()

    def look(self) -> bool:
        """Does it when it is time; tells whether it was."""
        now = time.monotonic()
        due = now - self._done_s >= self._every_s
        if due:
            self._done_s = now
            give_back()
        return due


def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
