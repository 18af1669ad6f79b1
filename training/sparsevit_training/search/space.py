"""The plans a search chooses from: one ratio of {0, 0.1, ..., 0.8} per block pair, never decreasing within a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparsevit_runtime.windows.geometry import StageGeometry
from sparsevit_runtime.windows.plan import Plan

#: Tenths pruned per block pair, stage by stage.
Genome = tuple[int, ...]

_TENTHS = 10
#: Choices per block pair: 0 to 8 tenths, as published.
LEVELS = 9


@dataclass(frozen=True)
class Space:
    """All plans of a network.

    Attributes:
        depths: blocks per stage.
        snapped: geometry of the stages whose kept counts are moved to the edges of tiles (`Plan.snapped`); None to
            leave them.
    """

    depths: tuple[int, ...]
    snapped: tuple[StageGeometry, ...] | None = None

    @property
    def pairs(self) -> tuple[int, ...]:
        """Block pairs per stage."""
        return tuple(-(-depth // 2) for depth in self.depths)

    def uniform(self, tenths: int) -> Genome:
        """The same ratio everywhere."""
        return (tenths,) * sum(self.pairs)

    def random(self, rng: np.random.Generator) -> Genome:
        """Every pair drawn on its own, then sorted within the stage."""
        return self._ordered(rng.integers(0, LEVELS, sum(self.pairs)))

    def mutate(self, genome: Genome, rng: np.random.Generator, rate: float) -> Genome:
        """Changes each pair with probability `rate`, and at least one: half the time by up to two tenths, else anew."""
        count = len(genome)
        drawn = rng.random(count) < rate
        drawn[rng.integers(count)] = True
        near = np.clip(np.add(genome, rng.choice([-2, -1, 1, 2], count)), 0, LEVELS - 1)
        changed = np.where(rng.random(count) < 0.5, near, rng.integers(0, LEVELS, count))
        return self._ordered(np.where(drawn, changed, genome))

    def cross(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome:
        """Each pair from one of two parents."""
        return self._ordered(np.where(rng.random(len(a)) < 0.5, a, b))

    def plan(self, genome: Genome) -> Plan:
        """One ratio per block; both blocks of a pair share theirs."""
        stages, start = [], 0
        for depth, pairs in zip(self.depths, self.pairs, strict=True):
            stages.append(tuple(genome[start + j // 2] / _TENTHS for j in range(depth)))
            start += pairs
        plan = Plan(tuple(stages))
        return plan if self.snapped is None else plan.snapped(self.snapped)

    def _ordered(self, genome: Sequence[int] | np.ndarray) -> Genome:
        ordered, start = [], 0
        for pairs in self.pairs:
            ordered += sorted(int(v) for v in genome[start : start + pairs])
            start += pairs
        return tuple(ordered)
