"""The pull face of a session: results of one source, for a loop."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from ..runner import Runner
from ..sources.base import Source
from ..tasks import Result
from ..tracking import Tracking
from ..windows.level import Level
from ..windows.plan import PlanLike
from .feeds import SourceLike, open_feed
from .outlet import Pull
from .reconnect import Reconnect
from .session import Session
from .states import SessionState

if TYPE_CHECKING:
    from typing_extensions import Self

#: Results of a file that may wait for the consumer. Those of a live source are handed over directly, to be fresh.
_AHEAD = 2


class Stream(Iterator[Result]):
    """Results of a source's frames, in order.

    Threads: one consumer. The session's threads start with the first result asked for and end with the last one, with
    `close`, or when the stream is dropped half-way.

    Attributes:
        source: the source being read, for its name, size, frame rate and frame count.
        session: session that runs, for its states and metrics.
    """

    def __init__(
        self,
        runner: Runner,
        source: SourceLike,
        sparsity: PlanLike | Level | None = None,
        *,
        activity: bool = False,
        threshold: float | None = None,
        reconnect: Reconnect | None = None,
        track: bool | Tracking = False,
    ) -> None:
        """Opens the source; see `Model.stream`.

        Raises:
            PlanError: the sparsity does not fit the model.
            SourceError, FrameError: the source cannot be opened, or is none.
        """
        level = runner.level(sparsity)
        feed = open_feed(source, reconnect)
        self.source = source if isinstance(source, Source) else feed
        self._results = Pull(0 if feed.live else _AHEAD)
        self.session = Session(
            runner, feed, [self._results], level=level, activity=activity, threshold=threshold, track=track
        )
        # The threads hold the session; nothing but this one holds the stream.
        self._close = weakref.finalize(self, self.session.close)

    @property
    def level(self) -> Level:
        """How much is computed; see `Session.level`."""
        return self.session.level

    @level.setter
    def level(self, level: PlanLike | Level | None) -> None:
        self.session.level = level

    def __next__(self) -> Result:
        if self.session.state is SessionState.NEW:
            self.session.start()
        try:
            return next(self._results).result
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stops the threads and closes the source. Safe to repeat."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
