"""The hand-over between two threads of a pipeline."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The channel was closed: there is nothing more to hand over."""


class Channel(Generic[T]):
    """A bounded queue that can be closed, from either side, with everyone waiting on it woken at once.

    Threads: every method is safe from any thread.

    Attributes:
        replaced: items given up so far.
    """

    def __init__(self, capacity: int, replace: bool = False) -> None:
        """
        Args:
            capacity: items held, >= 1.
            replace: a full channel gives up its oldest item instead of making the sender wait (a mailbox).
        """
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._replace = replace
        self._changed = threading.Condition()
        self._closed = False
        self._error: Exception | None = None
        self.replaced = 0

    def put(self, item: T) -> T | None:
        """Hands over an item.

        Returns:
            The item it replaced, or None.

        Raises:
            Closed: nobody will take it.
        """
        with self._changed:
            while not self._closed and len(self._items) >= self._capacity and not self._replace:
                self._changed.wait()
            if self._closed:
                raise Closed
            replaced = None
            if len(self._items) >= self._capacity:
                replaced = self._items.popleft()
                self.replaced += 1
            self._items.append(item)
            self._changed.notify_all()
            return replaced

    def get(self) -> T:
        """Takes the oldest item, waiting for one.

        Raises:
            Closed: the channel is closed and empty; or the error it was closed with.
        """
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            if not self._items:
                raise self._error or Closed
            item = self._items.popleft()
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

    def abandon(self) -> None:
        """No more items, and those held are thrown away."""
        with self._changed:
            self._items.clear()
            self._closed, self._error = True, None
            self._changed.notify_all()
