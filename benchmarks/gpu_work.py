"""One thing to time on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """One thing to time.

    Attributes:
        row: what it is, for the file.
        nbytes: that have to be moved, reads and writes.
        check: raises AssertionError where a result is wrong.
        prepare: makes so many sets of buffers, returns what launches on each: stream -> CUDA error.
    """

    row: dict
    nbytes: int
    check: Callable[[], None]
    prepare: Callable[[int], list[Callable[[int], int]]]
