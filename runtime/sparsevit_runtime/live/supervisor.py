"""Keeps a live source going: leaves a driver that does not return, and opens the source anew."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ..errors import PermanentSourceError, SourceError, SourceNotFoundError, SourceSilentError
from ..sources.addresses import hide_passwords
from ..sources.base import Frame, Source
from .channel import Closed, Empty
from .driver import GRACE_S, Driver, close_promptly
from .reconnect import Reconnect
from .states import SourceState, Tracker

_log = logging.getLogger(__name__)

#: Why a source was lost: nothing came in time, or an error.
SILENT, BROKE = "silent", "broke"


class Supervisor(Source):
    """A live source whose `read` and `close` return, whatever its driver does.

    Frames pass through as the driver gives them, none is ever made up; after a reconnect their indices go on where they
    broke off. Without a policy nothing is opened anew: an error ends the source, and a driver that hangs is waited for
    until `close`.

    Threads: one reader, which is the watchdog, too. The source itself is opened, read and closed in threads of its own,
    named "sparsevit-driver" and "sparsevit-closing", that are left to themselves when they hang. `close` may be called
    from any thread.

    Attributes:
        tracker: state of the source; it tells its listeners, and a warning in the log tells of trouble.
    """

    live = True

    def __init__(
        self,
        open: Callable[[], Source],
        reconnect: Reconnect | None = None,
        *,
        first: Source | None = None,
        name: str = "source",
        stalled_after_s: float = 3.0,
    ) -> None:
        """
        Args:
            open: opens the source; called when the first frame is asked for, and for every reconnect.
            reconnect: rule by which the source is opened anew; None for never.
            first: the source, where it is open already; `open` is for reconnects then.
            name: name until the source is open and says its own.
            stalled_after_s: the source counts as stalled when no frame came for so long, seconds.
        """
        self.name = name
        self.tracker: Tracker[SourceState] = Tracker(SourceState.CONNECTING)
        self._open = open
        self._policy = reconnect
        self._first = first
        self._stalled_after_s = stalled_after_s
        self._changed = threading.Condition()
        self._driver: Driver | None = None
        self._alive: set[Driver] = set()
        self._closing = self._over = self._returning = False
        self._attempts = 0
        self._returns = self._next_index = self._offset = 0
        self._lost_by = BROKE
        self._returns_after = {SILENT: 0, BROKE: 0}
        self._damaged_before = 0
        self._source = first
        if first is not None:
            self._describe(first)

    @property
    def reconnects(self) -> int:
        """Times the source came back, by itself or opened anew."""
        return self._returns + getattr(self._source, "reconnects", 0)

    @property
    def reconnect_reasons(self) -> dict[str, int]:
        """`reconnects` by what was wrong before: ``silent``, nothing came in time; ``broke``, an error."""
        return {**self._returns_after, BROKE: self.reconnects - self._returns_after[SILENT]}

    def read(self) -> Frame | None:
        """The next frame, or None at the end of the stream or after `close`.

        Raises:
            SourceError: the source did not come back in the attempts of the policy. Without a policy, whatever the
                driver raised.
        """
        while (driver := self._driver or self._start()) is not None:
            try:
                event = driver.events.get(self._patience_s(driver))
            except Empty:
                self._check(driver)
            except Closed:
                self._over = True
                self._enter(SourceState.ENDED, "closed" if self._closing else "the end of the stream")
                return None
            except Exception as error:
                self._lose(driver, error)
            else:
                if isinstance(event, Frame):
                    return self._accept(event)
                self._take_over(event)
                self._enter(SourceState.STARTING)
        return None

    def close(self) -> None:
        """Ends reading and has the source closed; a driver that hangs is left to itself."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            driver, unread = self._driver, self._first
            self._changed.notify_all()
        if driver is not None:
            driver.leave()
            driver.join(GRACE_S)
        elif unread is not None:
            close_promptly(unread)
        if not self._over:
            self._enter(SourceState.ENDED, "closed")

    def _start(self) -> Driver | None:
        """Opens the source, after the wait that is due; None when it is over."""
        with self._changed:
            if self._attempts and self._policy is not None:
                self._changed.wait_for(lambda: self._closing or self._over, self._policy.wait_s(self._attempts))
                self._wait_for_a_return(self._policy.most_hanging)
            if self._closing or self._over:
                return None
        self._enter(SourceState.CONNECTING)
        with self._changed:
            if self._closing:
                return None
            first, self._first = self._first, None
            driver = Driver(partial(self._opened, first), self._forget)
            self._driver = driver
            self._alive.add(driver)
            driver.start()
            return driver

    def _opened(self, first: Source | None) -> Source:
        """The source, open; in the driver's thread."""
        source = self._open() if first is None else first
        source.wants = self._asks
        return source

    def _asks(self) -> bool:
        return self.wants is None or self.wants()

    def _wait_for_a_return(self, most_hanging: int) -> None:
        if len(self._alive) < most_hanging or self._closing:
            return
        _log.warning("%s: %d calls hang; waiting for one to return before the next", self.name, len(self._alive))
        self._changed.wait_for(lambda: self._closing or len(self._alive) < most_hanging)

    def _forget(self, driver: Driver) -> None:
        with self._changed:
            self._alive.discard(driver)
            self._changed.notify_all()

    def _take_over(self, source: Source) -> None:
        """A source is open: its counts go on where those of the one before it ended."""
        if source is not self._source:
            self._returns = self.reconnects
        self._damaged_before = self.damaged
        self._source, self._offset = source, self._next_index
        self._describe(source)

    def _accept(self, frame: Frame) -> Frame:
        self._attempts = 0
        self.damaged = self._damaged_before + (self._source.damaged if self._source is not None else 0)
        if self._returning:
            self._returning = False
            self._returns += 1
            self._returns_after[self._lost_by] += 1
        self._enter(SourceState.LIVE)
        frame = replace(frame, index=frame.index + self._offset) if self._offset else frame
        self._next_index = frame.index + 1
        return frame

    def _limits(self) -> list[float]:
        """Seconds after which the call under way is worth a look."""
        state, policy = self.tracker.status.state, self._policy
        if state is SourceState.CONNECTING:
            return [policy.open_timeout_s] if policy else []
        stalled = [] if state is SourceState.STALLED else [self._stalled_after_s]
        return stalled + ([policy.read_timeout_s] if policy else [])

    def _patience_s(self, driver: Driver) -> float | None:
        busy, limits = driver.busy_since, self._limits()
        if not limits:
            return None
        spent = 0.0 if busy is None else time.monotonic() - busy
        return max(0.0, min(limits) - spent)

    def _check(self, driver: Driver) -> None:
        """What it means that no event came in time."""
        busy, limits, policy = driver.busy_since, self._limits(), self._policy
        if busy is None or not limits:
            return
        spent = time.monotonic() - busy
        opening = self.tracker.status.state is SourceState.CONNECTING
        if policy is not None and spent >= (policy.open_timeout_s if opening else policy.read_timeout_s):
            what = "opening it took" if opening else "no frame for"
            self._lose(driver, SourceSilentError(f"{self.name}: {what} more than {spent:.1f} s"))
        elif spent >= min(limits):
            self._enter(SourceState.STALLED, f"no frame for {spent:.1f} s")

    def _lose(self, driver: Driver, error: Exception) -> None:
        """Leaves a driver that broke or hangs. Raises the error when nothing is opened anew."""
        self._driver = None
        driver.leave()
        if self._closing:
            return
        self._attempts += 1
        if self._attempts == 1:  # an outage begins once
            stalled = self.tracker.status.state is SourceState.STALLED  # many drivers end a silence by an error
            self._lost_by = SILENT if stalled or isinstance(error, SourceSilentError) else BROKE
        given_up = self._gives_up(error)
        self._returning, self._over = self._next_index > 0, given_up
        self._enter(SourceState.LOST, hide_passwords(" ".join(str(error).split())))
        if not given_up:
            return
        if self._policy is None or self._attempts == 1 or self._is_hopeless(error):
            raise error
        what = "did not come back" if self._returning else "did not come"
        raise SourceError(
            f"{self.name} {what} in {self._policy.attempts} attempts; check the camera and the network, then start "
            f"again. The last one ended with: {error}"
        ) from error

    def _gives_up(self, error: Exception) -> bool:
        policy = self._policy
        if policy is None or self._is_hopeless(error) or not (self._next_index or policy.before_first):
            return True
        return policy.attempts is not None and self._attempts > policy.attempts

    def _is_hopeless(self, error: Exception) -> bool:
        """Whether trying again is of no use. What was there before may be there again, as a path of a server whose
        publisher comes back."""
        seen = self._next_index > 0 and isinstance(error, SourceNotFoundError)
        return isinstance(error, PermanentSourceError) and not seen

    def _describe(self, source: Source) -> None:
        self.name, self.size_wh, self.fps = source.name, source.size_wh, source.fps
        self.frame_count = source.frame_count

    def _enter(self, state: SourceState, reason: str = "") -> None:
        back = state is SourceState.LIVE and self.tracker.status.state is SourceState.STARTING and self._returns > 0
        reason = reason or (f"reconnect {self._returns}" if back else "")
        if not self.tracker.change(state, reason, unless=(SourceState.ENDED,)):
            return
        # An outage is told once, not with every attempt that fails.
        lost_now = state is SourceState.LOST and not self._over and self._attempts == 1
        trouble = state is SourceState.STALLED or lost_now
        level = logging.WARNING if trouble or back else logging.INFO
        said = f" ({reason})" if reason else ""
        _log.log(level, "%s: %s%s", self.name, state.value, said, extra={"source_state": state.value})


def already_open(source: Source) -> Callable[[], Source]:
    """A source that is open, as a function that opens it."""
    return lambda: source
