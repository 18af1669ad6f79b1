"""Random sparsity plans for adaptation (Chen et al., "SparseViT", section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsevit_runtime.windows.geometry import StageGeometry
from sparsevit_runtime.windows.plan import kept_windows

from .recipe_parts import PlanRecipe


def sample_ratios(
    depths: Sequence[int], recipe: PlanRecipe, rng: np.random.Generator, progress: float = 1.0
) -> list[list[float]]:
    """Draws a plan: one ratio per block pair, never decreasing within a stage.

    Args:
        depths: blocks per stage.
        recipe: what is drawn from.
        rng: generator.
        progress: progress of the training, 0..1.

    Returns:
        One list per stage, one ratio per block pair; all 0 in a dense step.
    """
    pairs = [-(-d // 2) for d in depths]
    if rng.random() < recipe.dense_share or progress < recipe.dense_until:
        return [[0.0] * n for n in pairs]
    if recipe.uniform_share and rng.random() < recipe.uniform_share:
        ratio = float(rng.choice(recipe.ratios))
        return [[ratio] * n for n in pairs]
    return [sorted(rng.choice(recipe.ratios, n).tolist()) for n in pairs]


def keep_of_ratios(ratios: Sequence[Sequence[float]], stages: Sequence[StageGeometry]) -> tuple[int, ...] | None:
    """Windows per block pair for these ratios per pair, as `SparseViT` takes them; None when the plan is dense."""
    if not any(r for stage in ratios for r in stage):
        return None
    return tuple(kept_windows(g.windows, r) for stage, g in zip(ratios, stages, strict=True) for r in stage)
