"""Starts and stops the recordings of a session while it runs."""

from __future__ import annotations

from collections.abc import Iterable

from .outlet import Outlet


class Recorder:
    """The videos of live sources that a session records, moved together; JSON lines and whatever else is written go on.

    Threads: safe from any.

    Attributes:
        active: whether anything is recorded.
    """

    def __init__(self, outlets: Iterable[Outlet]) -> None:
        """
        Args:
            outlets: outlets that may be paused.
        """
        self._outlets = tuple(outlets)

    @classmethod
    def of(cls, outlets: Iterable[Outlet]) -> Recorder | None:
        """The recorder of a session's outlets; None where none of them records."""
        recording = [outlet for outlet in outlets if outlet.may_pause]
        return cls(recording) if recording else None

    @property
    def active(self) -> bool:
        return not all(outlet.paused for outlet in self._outlets)

    def start(self) -> None:
        """Records from the next result on, into new files."""
        for outlet in self._outlets:
            outlet.paused = False

    def stop(self) -> None:
        """Records nothing from the next result on; with it the files are completed, and play."""
        for outlet in self._outlets:
            outlet.paused = True
