"""Progress that remembers what it was told."""

from __future__ import annotations

from collections.abc import Callable


class Told:
    """
    Attributes:
        pieces: title and total of each piece of work.
        done: after each advance, of the piece at hand.
        steps: title, done and total after each advance, of all pieces.
        notes: those that said something.
    """

    def __init__(self, every: Callable[[], None] = lambda: None) -> None:
        """`every` is called each time that anything is told."""
        self._every = every
        self.pieces: list[tuple[str, float | None]] = []
        self.done: list[float] = []
        self.steps: list[tuple[str, float, float | None]] = []
        self.notes: list[str] = []

    def start(self, title: str, total: float | None = None) -> None:
        self._every()
        self.pieces.append((title, total))
        self.done = []

    def advance(self, done: float | None = None, note: str = "") -> None:
        self._every()
        self.done.append(done if done is not None else (self.done[-1] if self.done else 0) + 1)
        title, total = self.pieces[-1]
        self.steps.append((title, self.done[-1], total))
        if note:
            self.notes.append(note)
