"""The hand-over between two threads of a session."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The channel was closed: there is nothing more to hand over."""


class Empty(Exception):
    """Nothing came in time."""


class Channel(Generic[T]):
    """A bounded queue that can be closed, from either side, with everyone waiting on it woken at once.

    Threads: every method is safe from any thread.

    Attributes:
        replaced: items given up so far.
    """

    def __init__(self, capacity: int, replace: bool = False, changed: threading.Condition | None = None) -> None:
        """
        Args:
            capacity: items held, >= 1; 0 hands over directly: the sender waits until its item is taken.
            replace: a full channel gives up its oldest item instead of making the sender wait (a mailbox).
            changed: condition that is told of every change, shared by channels that one thread waits for together; None
                for one alone.
        """
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._replace = replace
        self._changed = changed or threading.Condition()
        self._closed = False
        self._abandoned = False
        self._error: Exception | None = None
        self._put = 0
        self._taken = 0
        self.replaced = 0

    def __len__(self) -> int:
        """Items held."""
        return len(self._items)

    @property
    def end(self) -> Exception | None:
        """What `get` raises, once the channel is closed and empty: its error, or Closed. None before."""
        with self._changed:
            return (self._error or Closed()) if self._closed and not self._items else None

    def put(self, item: T) -> T | None:
        """Hands over an item.

        Returns:
            The item it replaced, or None.

        Raises:
            Closed: nobody will take it.
        """
        with self._changed:
            while not self._closed and not self._replace and len(self._items) >= max(1, self._capacity):
                self._changed.wait()
            if self._closed:
                raise Closed
            replaced = None
            if len(self._items) >= max(1, self._capacity):
                replaced = self._items.popleft()
                self._taken += 1
                self.replaced += 1
            self._items.append(item)
            number, self._put = self._put, self._put + 1
            self._changed.notify_all()
            if self._capacity == 0 and not self._replace:
                while self._taken <= number and not self._abandoned:
                    self._changed.wait()
                if self._taken <= number:
                    raise Closed
            return replaced

    def get(self, timeout_s: float | None = None) -> T:
        """Takes the oldest item, waiting for one.

        Args:
            timeout_s: longest wait in seconds; None for any.

        Raises:
            Closed: the channel is closed and empty; or the error it was closed with.
            Empty: nothing came in time.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not self._items and not self._closed:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise Empty
                self._changed.wait(left)
            if not self._items:
                raise self._error or Closed
            item = self._items.popleft()
            self._taken += 1
            self._changed.notify_all()
            return item

    def get_if_any(self) -> T | None:
        """Takes the oldest item, or None when there is none yet. Raises as `get`."""
        with self._changed:
            return self.get() if self._items or self._closed else None

    def close(self, error: Exception | None = None) -> None:
        """No more items; those held can still be taken, then the taker gets `error` or Closed."""
        with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
                self._changed.notify_all()

    def abandon(self) -> list[T]:
        """No more items. Returns those held, which nobody will take."""
        with self._changed:
            left = list(self._items)
            self._items.clear()
            self._closed, self._abandoned, self._error = True, True, None
            self._changed.notify_all()
            return left
