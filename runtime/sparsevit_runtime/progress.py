"""Progress of work that takes a while: what the library tells whoever shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

_T = TypeVar("_T")


class Progress(Protocol):
    """Told how far the work is: one piece after the other, each begun by `start`.

    Threads: told from one thread.
    """

    def start(self, title: str, total: float | None = None) -> None:
        """A piece of work begins, and the one before is over.

        Args:
            title: name of what is done, in a word or two.
            total: total of what `advance` counts; None where it is not known.
        """

    def advance(self, done: float | None = None, note: str = "") -> None:
        """The piece is further.

        Args:
            done: amount so far; None for one more than before.
            note: text of what else there is to say now, such as the best result yet.
        """


class Silent:
    """Progress that nobody looks at."""

    def start(self, title: str, total: float | None = None) -> None:
        pass

    def advance(self, done: float | None = None, note: str = "") -> None:
        pass


#: For callers that pass nothing.
SILENT: Progress = Silent()


def track(items: Sequence[_T], title: str, progress: Progress) -> Iterator[_T]:
    """Yields the items as one piece of work; an item is done when the next one is asked for."""
    progress.start(title, len(items))
    for item in items:
        yield item
        progress.advance()
