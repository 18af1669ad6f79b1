"""A level: a plan resolved for one model, so that a frame can carry it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import PlanError
from .geometry import StageGeometry
from .plan import Plan, PlanLike, dense_keep, kept_windows

if TYPE_CHECKING:
    from ..card import ModelCard


@dataclass(frozen=True)
class Level:
    """How much of a frame is computed. Equal plans of one model are equal levels.

    Attributes:
        plan: pruning ratios per block.
        keep: windows per block pair, (pairs,) int64, read-only: the graph's input; None for a fixed export.
        kept: windows computed per block pair, all stages in one; None when a fixed plan has pairs of two counts.
        window_share: windows computed among all windows of all blocks, 0 to 1.
    """

    plan: Plan
    keep: np.ndarray | None = field(compare=False, repr=False)
    kept: tuple[int, ...] | None
    window_share: float

    @classmethod
    def resolve(cls, card: ModelCard, sparsity: PlanLike | None = None) -> Level:
        """The level that a sparsity is for a model.

        Args:
            card: card of the model.
            sparsity: any form `Plan.parse` reads; None computes all windows, or the fixed plan of a `--fixed` export.

        Raises:
            PlanError: `sparsity` does not fit the model.
        """
        stages, depths = card.stages, card.windows.depths
        if card.windows.fixed is None:
            if sparsity is None:
                plan, keep = Plan.dense(depths), dense_keep(stages)
            else:
                plan = Plan.parse(sparsity, depths)
                keep = plan.keep(stages)
            keep.flags.writeable = False
            return cls(plan, keep, tuple(keep.tolist()), _share_of_keep(keep, stages))
        fixed = Plan(card.windows.fixed)
        if sparsity is not None and Plan.parse(sparsity, depths) != fixed:
            raise PlanError(
                f"{card.name} is a fixed export with the ratios {fixed.ratios}, asked for {sparsity!r}; "
                "leave the sparsity out, or export without --fixed"
            )
        return cls(fixed, None, _kept_of_fixed(fixed, stages), _share_of_fixed(fixed, stages))

    @property
    def is_dense(self) -> bool:
        """Whether every window of every block is computed."""
        return self.window_share == 1.0

    def __str__(self) -> str:
        return say_pruned(self.window_share)


def say_pruned(window_share: float) -> str:
    """A sparsity in words, the same everywhere: ``60% pruned``, or ``dense``.

    Args:
        window_share: windows computed among all windows of all blocks, 0 to 1.
    """
    return "dense" if window_share == 1.0 else f"{1 - window_share:.0%} pruned"


def _share_of_keep(keep: np.ndarray, stages: tuple[StageGeometry, ...]) -> float:
    blocks = [min(2, s.depth - 2 * pair) for s in stages for pair in range(s.pairs)]
    return float(np.dot(keep, blocks)) / _blocks_windows(stages)


def _share_of_fixed(plan: Plan, stages: tuple[StageGeometry, ...]) -> float:
    kept = sum(kept_windows(s.windows, ratio) for ratios, s in zip(plan.ratios, stages) for ratio in ratios)
    return kept / _blocks_windows(stages)


def _blocks_windows(stages: tuple[StageGeometry, ...]) -> int:
    return sum(s.windows * s.depth for s in stages)


def _kept_of_fixed(plan: Plan, stages: tuple[StageGeometry, ...]) -> tuple[int, ...] | None:
    try:
        return tuple(plan.keep(stages).tolist())
    except PlanError:  # legal in a fixed export: the blocks of a pair keep different counts
        return None
