"""A sink that only counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Sink

if TYPE_CHECKING:
    from ..tasks import Result


class NullSink(Sink):
    """Drops everything; for measuring, and for runs that only log.

    Attributes:
        count: results taken.
    """

    def __init__(self) -> None:
        self.name = "null://"
        self.count = 0

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        self.count += 1

    def close(self) -> None:
        """Nothing is open."""

    def abort(self) -> None:
        """Nothing is half-written."""
