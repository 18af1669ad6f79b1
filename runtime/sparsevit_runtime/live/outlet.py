"""Where results leave a session: sinks and functions, each at its own pace."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArgumentError, SinkError
from ..sinks.base import Sink, StopStream
from ..tasks import Result
from .channel import Channel, Closed
from .delivery import Delivery
from .metrics import OutletMetrics

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger(__name__)

#: Results that wait for an outlet which may not miss any; enough to ride over uneven encoding.
_AHEAD = 2
#: Closing waits so long for a function that is at work. A sink is waited for: its owner closes it next.
_GRACE_S = 0.3


class Outlet:
    """Takes a session's results to a sink or a function.

    One that may block gets every result, and the pipeline waits for it. Any other has a one-slot mailbox: while it is
    busy, newer results take the place of older ones, which are counted.

    Threads: one of its own, "sparsevit-outlet", in which alone the target is called; pictures are drawn in it, too. The
    target is opened and closed by its owner, before the session starts and after it has ended.

    Attributes:
        name: name in messages and metrics.
        essential: its failure ends the session.
        error: error that it failed with; None while it works.
        paused: whether results pass by it. May be set from any thread, of one that `may_pause`; holds from the next
            result on, with which the sink completes its files.
    """

    _patience_s: float | None

    def __init__(
        self,
        target: Sink | Callable[[Result, np.ndarray | None], None],
        *,
        name: str | None = None,
        may_block: bool | None = None,
        pictures: bool | None = None,
        essential: bool = False,
        sources: Collection[str] | None = None,
    ) -> None:
        """
        Args:
            target: a sink, or a function of a result and its picture, (H, W, 3) uint8 BGR to be read only, or None.
            name: the sink's or the function's when None.
            may_block: the pipeline waits for it, so that it misses nothing; as the sink says when None, and not for a
                function.
            pictures: it wants annotated pictures; as the sink says when None, and not for a function.
            sources: names of the sources whose results it takes; None for all.
            essential: its failure ends the session, with its error. Otherwise the others go on, as long as there are
                others.

        Raises:
            SinkError: the sink has to be written in the main thread, which is the caller's to do (`Pull`).
            ArgumentError: the target is neither a sink nor a function.
        """
        if not isinstance(target, Sink) and not callable(target):
            raise ArgumentError(
                f"an outlet's target is a sink (`open_sink`) or a function of a result and its picture, got "
                f"{type(target).__name__}"
            )
        self._write: Callable[[Result, np.ndarray | None], None]
        if isinstance(target, Sink):
            if target.main_thread:
                raise SinkError(
                    f"{target.name} is written in the main thread: pull the results there, and write them to it"
                )
            self.name, self._write, self._patience_s = name or target.name, target.write, None
            may_block = target.may_block if may_block is None else may_block
            pictures = target.needs_image if pictures is None else pictures
        else:
            self.name = name or str(getattr(target, "__name__", type(target).__name__))
            self._write, self._patience_s = target, _GRACE_S
        self.essential = essential
        self._sink = target if isinstance(target, Sink) else None
        self.error: Exception | None = None
        self.paused = False
        self._pictures = bool(pictures)
        self._sources = None if sources is None else frozenset(sources)
        # None: one that passed by while it was paused.
        self._deliveries: Channel[Delivery | None] = Channel(_AHEAD) if may_block else Channel(1, replace=True)
        self._written = 0
        self._thread: threading.Thread | None = None

    @property
    def metrics(self) -> OutletMetrics:
        error = "" if self.error is None else str(self.error)
        held, dropped = (0, 0) if self._sink is None else (self._sink.waiting, self._sink.dropped)
        return OutletMetrics(self._written, self._deliveries.replaced, len(self._deliveries) + held, error, dropped)

    @property
    def may_pause(self) -> bool:
        """Whether it is a recording that may be stopped and go on later."""
        return self._sink is not None and self._sink.may_pause

    def start(self, on_end: Callable[[Outlet], None], on_stop: Callable[[], None]) -> bool:
        """Begins to take results.

        Args:
            on_end: called in the outlet's thread when it takes no more; `error` says whether it failed.
            on_stop: called in the outlet's thread when the person watching asked to stop.

        Returns:
            Whether it has a thread, and will call `on_end`.
        """
        self._thread = threading.Thread(target=self._run, args=(on_end, on_stop), name="sparsevit-outlet", daemon=True)
        self._thread.start()
        return True

    def put(self, delivery: Delivery) -> None:
        """Hands over a result; one that may block makes the caller wait. Nothing happens when it has ended,
        and with results of other sources than its own."""
        if self._sources is not None and delivery.result.source not in self._sources:
            return
        with suppress(Closed):
            self._deliveries.put(None if self.paused else delivery)

    def close(self, error: Exception | None = None) -> None:
        """No more results, for whatever reason. Those held are still written."""
        self._deliveries.close()

    def abandon(self) -> None:
        """No more results, and those held are thrown away."""
        self._deliveries.abandon()

    def join(self) -> None:
        """Waits for the write under way: a sink's for as long as it takes, a function only a moment."""
        if self._thread is None or self._thread is threading.current_thread():
            return
        self._thread.join(self._patience_s)
        if self._thread.is_alive():
            _log.warning("the outlet %s is still at work and left to itself", self.name)

    def _run(self, on_end: Callable[[Outlet], None], on_stop: Callable[[], None]) -> None:
        try:
            while True:
                self._take(self._deliveries.get())
        except Closed:
            pass
        except StopStream:
            on_stop()
        except Exception as error:
            self.error = error
            # The session says it of one that ends it.
            _log.log(logging.INFO if self.essential else logging.WARNING, "the outlet %s failed: %s", self.name, error)
        finally:
            self._deliveries.abandon()
            on_end(self)

    def _take(self, delivery: Delivery | None) -> None:
        if delivery is not None:
            self._write(delivery.result, delivery.picture() if self._pictures else None)
            self._written += 1
        elif self._sink is not None:
            self._sink.pause()  # nothing but the first time


class Pull(Outlet, Iterator[Delivery]):
    """The outlet of a caller who takes results when it wants them, each exactly once.

    Threads: none of its own; one consumer. The pipeline waits for it.
    """

    def __init__(self, ahead: int) -> None:
        """
        Args:
            ahead: results that may wait; 0 keeps them as fresh as can be.
        """
        super().__init__(lambda result, picture: None, name="consumer", may_block=True)
        self._deliveries = Channel(ahead)
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delivery:
        """The next result with its picture.

        Raises:
            StopIteration: the session has ended.
            Exception: what the session failed with, once, behind the results before it.
        """
        if self._over:
            raise StopIteration
        try:
            while (delivery := self._deliveries.get()) is None:
                pass
        except Closed:
            self._over = True
            raise StopIteration from None
        except Exception:
            self._over = True
            raise
        self._written += 1
        return delivery

    def start(self, on_end: Callable[[Outlet], None], on_stop: Callable[[], None]) -> bool:
        """Nothing to start: the consumer has a thread."""
        return False

    def close(self, error: Exception | None = None) -> None:
        """No more results. The consumer gets those held, then the error."""
        self._deliveries.close(error)
