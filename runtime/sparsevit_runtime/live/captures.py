"""The captures of a session: opened, started and ended together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from ..errors import SourceError
from .capture import Capture, PreparedFrame
from .driver import close_quietly
from .feeds import SourceLike, open_feed
from .metrics import SourceMetrics
from .reconnect import Reconnect
from .scheduler import Scheduler
from .states import SourceState, Status

if TYPE_CHECKING:
    from ..runner import Runner


class Captures:
    """One capture for each source. Threads: safe from any thread.

    Attributes:
        by_name: captures by the names of their sources.
    """

    def __init__(
        self,
        sources: SourceLike | Mapping[str, SourceLike],
        reconnect: Reconnect | None,
        runner: Runner,
        scheduler: Scheduler[PreparedFrame],
    ) -> None:
        """Opens the sources; where one cannot be, those before it are closed.

        Args:
            sources: sources by name, or one that is called as it names itself.
            reconnect: rule by which live sources are opened anew; see `open_feed`.
            runner: runner that prepares their frames.
            scheduler: takes them.

        Raises:
            SourceError, FrameError: a source cannot be opened, or is none; there is none at all.
        """
        self.by_name: dict[str, Capture] = {}
        named: Mapping[str, SourceLike] = sources if isinstance(sources, Mapping) else {"": sources}
        if not named:
            raise SourceError("a session needs a source; name at least one")
        try:
            for given, source in named.items():
                feed = open_feed(source, reconnect)
                name = given or feed.name
                self.by_name[name] = Capture(name, feed, runner, scheduler)
        except Exception:
            for capture in self.by_name.values():
                close_quietly(capture.source)
            raise

    @property
    def statuses(self) -> dict[str, Status[SourceState]]:
        """What every source is doing."""
        return {name: capture.tracker.status for name, capture in self.by_name.items()}

    @property
    def metrics(self) -> dict[str, SourceMetrics]:
        """What was counted of every source up to this moment."""
        return {name: capture.metrics for name, capture in self.by_name.items()}

    def listen(self, listener: Callable[[str, Status[SourceState]], None]) -> None:
        """Has a listener told every change of a source's state, with its name."""
        for name, capture in self.by_name.items():
            capture.tracker.listen(partial(listener, name))

    def start(self) -> None:
        for capture in self.by_name.values():
            capture.start()

    def stop(self) -> None:
        """Wants no more frames. Waits for nothing; safe to repeat."""
        for capture in self.by_name.values():
            capture.stop()

    def finish(self, until: float) -> None:
        """Stops them, and makes their counts final.

        Args:
            until: moment of the monotonic clock up to which is waited for those that are about to return.
        """
        self.stop()
        for capture in self.by_name.values():
            capture.join(until)
            capture.counters.seal()
            capture.buffers.clear()  # whoever keeps the session for its counts does not keep its pictures
