"""What sources and sessions are doing, and since when."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)


class SourceState(Enum):
    """What a source is doing.

    Attributes:
        CONNECTING: being opened.
        STARTING: open, no frame yet.
        LIVE: frames come.
        STALLED: open, and no frame has come for a while.
        LOST: broken or given up; a supervised one comes back by CONNECTING.
        ENDED: no more frames, and none were expected.
    """

    CONNECTING = "connecting"
    STARTING = "starting"
    LIVE = "live"
    STALLED = "stalled"
    LOST = "lost"
    ENDED = "ended"


class SessionState(Enum):
    """What a session is doing.

    Attributes:
        NEW: not started.
        RUNNING: frames are taken.
        STOPPING: no new frames; those under way are finished.
        ENDED: over, as its sources or its owner wanted.
        FAILED: over, by an error.
    """

    NEW = "new"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"
    FAILED = "failed"


S = TypeVar("S", SourceState, SessionState)


@dataclass(frozen=True)
class Status(Generic[S]):
    """A state and how it came about.

    Attributes:
        state: now.
        since_ns: wall clock when it began, nanoseconds.
        reason: cause, for people; empty where the state says all.
    """

    state: S
    since_ns: int
    reason: str = ""


class Tracker(Generic[S]):
    """The status of one thing, told on when it changes and only then.

    Threads: safe from any thread. Listeners run in the thread that makes the change, one change at a time; they must
    return soon.
    """

    def __init__(self, state: S) -> None:
        """
        Args:
            state: first state.
        """
        self._lock = threading.RLock()
        self._status: Status[S] = Status(state, time.time_ns())
        self._listeners: list[Callable[[Status[S]], None]] = []

    @property
    def status(self) -> Status[S]:
        return self._status

    def listen(self, listener: Callable[[Status[S]], None]) -> None:
        """Has a listener told each new status from now on. What it raises is logged."""
        with self._lock:
            self._listeners.append(listener)

    def change(self, state: S, reason: str = "", *, unless: tuple[S, ...] = ()) -> bool:
        """Enters a state.

        Args:
            state: entered.
            reason: reason of the change.
            unless: states that are kept.

        Returns:
            Whether anything changed.
        """
        with self._lock:
            if self._status.state in (state, *unless):
                return False
            self._status = Status(state, time.time_ns(), reason)
            for listener in self._listeners:
                try:
                    listener(self._status)
                except Exception:
                    _log.exception("a listener failed at the state %s", state.value)
            return True
