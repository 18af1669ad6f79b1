"""What a meter is, and what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import SparseViTError


class MeterError(SparseViTError):
    """A meter that was there cannot be read any more."""


@dataclass(frozen=True)
class PowerReading:
    """One look at the machine.

    Attributes:
        watts: drawn now; None where the meter only counts energy, or there is none.
        joules: counted since the meter was opened; None where it does not count.
        clocks_mhz: clocks by name, those that can be read now.
        temperatures_c: temperatures by name, those that can be read now.
        throttled: reason that holds the clocks back now; None when nothing does, or nothing says so.
    """

    watts: float | None = None
    joules: float | None = None
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    throttled: str | None = None


class PowerMeter(Protocol):
    """Threads: one reader at a time.

    Attributes:
        name: origin of the figures, for reports.
        scope: part of the machine that the watts are of, for reports: a GPU, a module, CPU packages.
    """

    name: str
    scope: str

    def read(self) -> PowerReading:
        """Raises MeterError when the meter is gone."""

    def close(self) -> None:
        """Releases the meter. Safe to repeat; `read` raises MeterError afterwards."""
