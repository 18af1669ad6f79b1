"""Evolutionary and random search over plans; both see a plan only through two functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .space import Genome, Space

#: Share of a population that becomes parents.
_PARENTS = 0.25
#: Chance per block pair to be drawn anew in a child.
_MUTATION_RATE = 0.2
#: Draws in a row without a new plan inside the budget after which the space counts as searched through.
_MAX_DRAWS = 3000

Evaluate = Callable[[Genome], float]
Admit = Callable[[Genome], bool]


class Pool:
    """Plans evaluated so far, best first, no two that compute the same windows.

    Args:
        key_of: two plans with the same key compute the same.
        admit: test that a plan is inside the budget.
        evaluate: its metric; greater is better.
        limit: evaluations in all.
    """

    def __init__(self, key_of: Callable[[Genome], object], admit: Admit, evaluate: Evaluate, limit: int) -> None:
        self._key_of, self._admit, self._evaluate = key_of, admit, evaluate
        self._limit = limit
        self._seen: set[object] = set()
        self._scores: dict[Genome, float] = {}

    def __len__(self) -> int:
        return len(self._scores)

    @property
    def full(self) -> bool:
        return len(self._scores) >= self._limit

    @property
    def ranked(self) -> list[tuple[Genome, float]]:
        """Best first; of equals, the one found first."""
        return sorted(self._scores.items(), key=lambda item: -item[1])

    def offer(self, genome: Genome) -> bool:
        """Evaluates a plan that is new, inside the budget, and for which there is room."""
        key = self._key_of(genome)
        if self.full or key in self._seen:
            return False
        self._seen.add(key)
        if not self._admit(genome):
            return False
        self._scores[genome] = self._evaluate(genome)
        return True


def fill_randomly(pool: Pool, space: Space, rng: np.random.Generator, count: int) -> None:
    """Adds up to `count` random plans; fewer when the space has no more."""
    draws, wanted = 0, len(pool) + count
    while len(pool) < wanted and not pool.full and draws < _MAX_DRAWS:
        draws = 0 if pool.offer(space.random(rng)) else draws + 1


def evolve(pool: Pool, space: Space, rng: np.random.Generator, population: int) -> None:
    """Fills the pool generation by generation: children of the best plans found so far, by crossing and mutation."""
    fill_randomly(pool, space, rng, population - len(pool))
    while not pool.full:
        parents = [genome for genome, _ in pool.ranked[: max(2, round(_PARENTS * population))]]
        if not parents:
            return
        born = draws = 0
        while born < population and not pool.full and draws < _MAX_DRAWS:
            draws += 1
            if len(parents) > 1 and rng.random() < 0.5:
                first, second = rng.choice(len(parents), 2, replace=False)
                child = space.cross(parents[first], parents[second], rng)
                if rng.random() < 0.5:
                    child = space.mutate(child, rng, _MUTATION_RATE)
            else:
                child = space.mutate(parents[rng.integers(len(parents))], rng, _MUTATION_RATE)
            if pool.offer(child):
                born, draws = born + 1, 0
        if not born:
            return
