"""Whose frame is next: the mailboxes of several sources, emptied in turn by one thread."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from .channel import Channel, Closed

T = TypeVar("T")


class Scheduler(Generic[T]):
    """Takes items from several lanes, one of each in turn, so that a fast source does not starve a slow one.

    Threads: `lane` before anybody waits; the other methods are safe from any thread. A lane is filled by its source's.

    Attributes:
        waiting: whether whoever takes items waits for one.
    """

    def __init__(self, limit: int | None = None, *, limit_each: int | None = None) -> None:
        """
        Args:
            limit: items given out at most, all lanes together; then it is as if every lane had ended. None for all.
            limit_each: items given out of each lane at most; then it is as if that lane had ended. None for all.
        """
        self._changed = threading.Condition()
        self.waiting = False
        self._lanes: list[Channel[T]] = []
        self._turn = 0
        self._left = limit
        self._left_of: list[int | None] = []
        self._limit_each = limit_each

    def lane(self, capacity: int, replace: bool) -> Channel[T]:
        """A new lane; see `Channel`."""
        lane: Channel[T] = Channel(capacity, replace, self._changed)
        self._lanes.append(lane)
        self._left_of.append(self._limit_each)
        return lane

    def get(self) -> T:
        """Takes the next item, waiting for one.

        Raises:
            Closed: every lane is closed and empty, or the limit is reached. When every lane was closed with an error,
                the first lane's error instead.
        """
        with self._changed:
            while (item := self.get_if_any()) is None:
                self.waiting = True
                self._changed.wait()
                self.waiting = False
            return item

    def get_if_any(self) -> T | None:
        """Takes the next item, or None when there is none yet. Raises as `get`."""
        with self._changed:
            if self._left == 0:
                raise Closed
            for i in range(len(self._lanes)):
                position = (self._turn + i) % len(self._lanes)
                left = self._left_of[position]
                if left != 0 and len(self._lanes[position]):
                    self._turn = position + 1
                    if self._left is not None:
                        self._left -= 1
                    if left is not None:
                        self._left_of[position] = left - 1
                    return self._lanes[position].get()
            ends = [Closed() if left == 0 else lane.end for lane, left in zip(self._lanes, self._left_of)]
            failed = [end for end in ends if end is not None and not isinstance(end, Closed)]
            if None in ends:
                return None
            raise failed[0] if failed and len(failed) == len(ends) else Closed

    def end(self) -> None:
        """Gives out nothing more."""
        with self._changed:
            self._left = 0
            self._changed.notify_all()

    def abandon(self) -> list[T]:
        """No more items. Returns those held, which nobody will take."""
        with self._changed:
            return [item for lane in self._lanes for item in lane.abandon()]
