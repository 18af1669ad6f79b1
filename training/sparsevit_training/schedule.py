"""Progress of a training run and the learning rate that follows from it."""

from __future__ import annotations

import math
import time

from .recipe_parts import ScheduleRecipe


class Schedule:
    """Maps steps to progress, 0..1.

    Args:
        recipe: steps, and possibly a time budget.
        elapsed_s: time already spent in earlier sessions of this run.
    """

    def __init__(self, recipe: ScheduleRecipe, elapsed_s: float = 0.0) -> None:
        self._recipe = recipe
        self._before = elapsed_s
        self._start: float | None = None

    def begin(self) -> None:
        """Starts the clock: reading data and building the network are not part of the time budget."""
        self._start = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds spent training, over all sessions."""
        return self._before + (0.0 if self._start is None else time.monotonic() - self._start)

    def progress(self, step: int) -> float:
        """Share of the training done when `step` begins."""
        done = step / self._recipe.steps
        if self._recipe.budget_minutes is not None:
            done = max(done, self.elapsed_s / (60 * self._recipe.budget_minutes))
        return min(done, 1.0)

    def lr_factor(self, step: int, progress: float) -> float:
        """Learning rate at this point, as a share of its peak."""
        warm = min(1.0, (step + 1) / self._recipe.warmup_steps) if self._recipe.warmup_steps else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return warm * (self._recipe.final_lr + (1 - self._recipe.final_lr) * cosine)
