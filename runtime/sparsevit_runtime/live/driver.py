"""A source in a thread of its own that can be left behind in the middle of a call."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..errors import SourceError
from ..sources.base import Frame, Source
from .channel import Channel, Closed, Empty

_log = logging.getLogger(__name__)

#: Closing waits so long for a driver that is about to return, so that its device is free again afterwards.
GRACE_S = 0.3


def close_aside(source: Source) -> threading.Thread:
    """Closes a source in a thread of its own: a driver may keep `close` waiting for a call that does not return."""
    thread = threading.Thread(target=close_quietly, args=(source,), name="sparsevit-closing", daemon=True)
    thread.start()
    return thread


def close_quietly(source: Source) -> None:
    """Closes a source; what it raises is logged, for nobody can act on it any more."""
    try:
        source.close()
    except Exception:
        _log.warning("%s could not be closed", source.name, exc_info=True)


def close_promptly(source: Source) -> None:
    """Closes a source, and waits for that only as long as a driver takes that is about to return."""
    close_aside(source).join(GRACE_S)


def open_within(open: Callable[[], Source], timeout_s: float, name: str) -> Source:
    """Opens a source, but does not wait for a driver that does not return; what it opens then is closed.

    Raises:
        SourceError: it took too long, or cannot be opened.
    """
    results: Channel[Source | Exception] = Channel(1)

    def run() -> None:
        try:
            result: Source | Exception = open()
        except Exception as error:
            result = error
        try:
            results.put(result)
        except Closed:
            if isinstance(result, Source):
                close_quietly(result)

    threading.Thread(target=run, name="sparsevit-driver", daemon=True).start()
    late: list[Source | Exception] = []
    try:
        result = results.get(timeout_s)
    except Empty:
        late = results.abandon()
        raise SourceError(
            f"{name}: opening it took more than {timeout_s:.1f} s; check the device or the network"
        ) from None
    except BaseException:  # Ctrl-C
        late = results.abandon()
        raise
    finally:
        for each in late:
            if isinstance(each, Source):
                close_aside(each)
    if isinstance(result, Exception):
        raise result
    return result


class Driver:
    """One opening of a source, until its end, its first error, or until it is left.

    Threads: one of its own, which alone opens and reads the source, and closes it when it ends. Whoever leaves it goes
    on at once; the thread ends when the call it is in returns.

    Attributes:
        events: the source once it is open, then its frames; closed at the end, with the error if there was one.
        busy_since: monotonic clock when the call under way began, seconds; None between calls.
    """

    def __init__(self, open: Callable[[], Source], on_end: Callable[[Driver], None]) -> None:
        """
        Args:
            open: opens the source.
            on_end: called in the driver's thread when it is over.
        """
        self.events: Channel[Source | Frame] = Channel(1)
        self.busy_since: float | None = None
        self._open = open
        self._on_end = on_end
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._left = False
        self._closer: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name="sparsevit-driver", daemon=True)

    def start(self) -> None:
        self.busy_since = time.monotonic()
        self._thread.start()

    def leave(self) -> None:
        """Wants no more frames, and has the source closed. Waits for nothing; safe to repeat."""
        self.events.abandon()
        with self._lock:
            calling = not self._left and self.busy_since is not None
            self._left = True
            if calling and self._source is not None:
                self._closer = close_aside(self._source)

    def join(self, timeout_s: float) -> None:
        """Waits for its threads, but not for long."""
        until = time.monotonic() + timeout_s
        for thread in (self._thread, self._closer):
            if thread is not None:
                thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        try:
            source = self._source = self._open()
            self._hand_over(source)
            while (frame := source.read()) is not None:
                self._hand_over(frame)
            self._finish(None)
        except Closed:
            self._finish(None)
        except Exception as error:
            self._finish(error)
        finally:
            if self._source is not None:
                close_quietly(self._source)
            with self._lock:
                closer, self._left = self._closer, True
            if closer is not None:
                closer.join()  # it counts as hanging as long as either does
            self._on_end(self)

    def _hand_over(self, event: Source | Frame) -> None:
        self.busy_since = None
        self.events.put(event)
        with self._lock:
            if self._left:
                raise Closed
            self.busy_since = time.monotonic()

    def _finish(self, error: Exception | None) -> None:
        self.busy_since = None
        self.events.close(error)
