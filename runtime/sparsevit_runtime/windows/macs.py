"""Multiply-accumulates of the backbone: what a plan leaves to compute, and so the least time it can take.

Counted: patch embedding, the linear layers and both attention products of every computed window, and patch merging.
Not counted: norms, softmax, GELU, additions, moving windows about. Padding tokens inside a computed window count,
because they are computed. What a convolutional front and a head have to compute no plan changes; it is counted at
export, and the card says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .geometry import PATCH_SIZE, StageGeometry
from .plan import Plan, PlanLike, kept_windows

if TYPE_CHECKING:
    from ..card import ModelCard

#: Hidden width of a block's feed-forward part over its channels.
_FFN_RATIO = 4
_IMAGE_CHANNELS = 3


def backbone_macs(stages: Sequence[StageGeometry], embed_dim: int, plan: Plan) -> int:
    """Multiply-accumulates of one image.

    Args:
        stages: window geometry of the input size.
        embed_dim: channels of the first stage; each further stage has twice as many.
        plan: pruning ratios per block; must have as many blocks as `stages`.

    Returns:
        The exact count. Swin-T at 672x672: 40.4e9 dense, 16.5e9 with 60% pruned everywhere.
    """
    return sum(backbone_parts(stages, embed_dim, plan).values())


def backbone_parts(stages: Sequence[StageGeometry], embed_dim: int, plan: Plan) -> dict[str, int]:
    """`backbone_macs` of each part, as `graph.parts` names them; those that multiply nothing are left out."""
    macs = dict.fromkeys(("embed", "attention", "mlp", "merge"), 0)
    macs["embed"] = stages[0].height * stages[0].width * PATCH_SIZE**2 * _IMAGE_CHANNELS * embed_dim
    for i, (stage, ratios) in enumerate(zip(stages, plan.ratios, strict=True)):
        channels = embed_dim << i
        windows = sum(kept_windows(stage.windows, ratio) for ratio in ratios)
        mlp = 2 * _FFN_RATIO * stage.window_size**2 * channels**2
        macs["mlp"] += windows * mlp
        macs["attention"] += windows * (window_macs(stage.window_size, channels) - mlp)
        if i + 1 < len(stages):
            merged = stages[i + 1].height * stages[i + 1].width
            macs["merge"] += merged * (4 * channels) * (2 * channels)
    return macs


def window_macs(window_size: int, channels: int) -> int:
    """Multiply-accumulates of one block on one window."""
    tokens = window_size**2
    linear = tokens * channels**2 * (3 + 1 + 2 * _FFN_RATIO)  # qkv, projection, feed-forward in and out
    products = 2 * tokens**2 * channels  # q @ k^T and attention @ v, all heads together
    return linear + products


def card_macs(card: ModelCard, sparsity: PlanLike | None = None) -> int:
    """`backbone_macs` of a model.

    Args:
        card: card of the model.
        sparsity: any form `Plan.parse` reads; None is the fixed plan of a `--fixed` export, else all windows.

    Raises:
        PlanError: the plan does not fit the model.
    """
    return sum(_backbone_of(card, sparsity).values())


def card_parts(card: ModelCard, sparsity: PlanLike | None = None) -> dict[str, int]:
    """Multiply-accumulates of a model's parts for one image, the head's behind those of the backbone.

    The head's are missing of a file that was exported before they were counted.

    Args:
        card, sparsity: see `card_macs`.

    Raises:
        PlanError: the plan does not fit the model.
    """
    return _backbone_of(card, sparsity) | dict(card.architecture.head_macs)


def _backbone_of(card: ModelCard, sparsity: PlanLike | None) -> dict[str, int]:
    depths = card.windows.depths
    if sparsity is not None:
        plan = Plan.parse(sparsity, depths)
    elif card.windows.fixed is not None:
        plan = Plan(card.windows.fixed)
    else:
        plan = Plan.dense(depths)
    front = card.architecture.front
    parts = backbone_parts(card.stages, card.architecture.embed_dim, plan)
    return parts if front is None else {"embed": parts.pop("embed"), "front": front.macs} | parts
