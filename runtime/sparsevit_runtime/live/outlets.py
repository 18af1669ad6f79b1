"""The outlets of a session: started, told the end, and ended together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..arguments import as_kind
from .metrics import OutletMetrics
from .outlet import Outlet


class Outlets:
    """All outlets of a session. Threads: safe from any thread.

    Attributes:
        all: the outlets, in the order in which they were given.
    """

    def __init__(self, outlets: Sequence[Outlet]) -> None:
        """Raises ArgumentError: it is no list of outlets."""
        for outlet in as_kind(outlets, (list, tuple), "outlets is a list of `Outlet`"):
            as_kind(outlet, Outlet, "outlets is a list of `Outlet`")
        self.all = tuple(outlets)

    @property
    def metrics(self) -> dict[str, OutletMetrics]:
        """What each has counted up to this moment, by a name of its own."""
        told: dict[str, OutletMetrics] = {}
        for i, outlet in enumerate(self.all):
            told[outlet.name if outlet.name not in told else f"{outlet.name} #{i}"] = outlet.metrics
        return told

    def start(self, on_end: Callable[[Outlet], None], on_stop: Callable[[], None]) -> int:
        """Begins to take results; see `Outlet.start`.

        Returns:
            How many will call `on_end`.
        """
        return sum(outlet.start(on_end, on_stop) for outlet in self.all)

    def is_the_end(self, outlet: Outlet) -> bool:
        """Whether the session ends with an outlet that has ended: it failed, and is essential or was the last."""
        return outlet.error is not None and (outlet.essential or all(each.error for each in self.all))

    def close(self, error: Exception | None) -> None:
        """No more results, for whatever reason. Those held are still written."""
        for outlet in self.all:
            outlet.close(error)

    def abandon(self) -> None:
        """No more results, and those held are thrown away."""
        for outlet in self.all:
            outlet.abandon()

    def join(self) -> None:
        """Waits for the writes under way."""
        for outlet in self.all:
            outlet.join()
