"""The range of input shapes and of `keep` an engine is built for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..card import ModelCard
from ..contract import image_spec
from ..errors import BuildError
from ..windows.plan import Plan, PlanLike, dense_keep

#: Share of windows pruned that an engine is tuned for; every other sparsity runs in it as well.
TYPICAL_SPARSITY = 0.6
#: Levels that one engine may be tuned for.
MOST_LEVELS = 16
_Size = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Range(BaseModel):
    """Bounds of one graph input, and the point kernels are chosen for: a shape, or for `keep` its values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: tuple[_Size, ...] = Field(max_length=4096)
    opt: tuple[_Size, ...] = Field(max_length=4096)
    max: tuple[_Size, ...] = Field(max_length=4096)


def make_levels(card: ModelCard, sparsities: Sequence[PlanLike]) -> tuple[tuple[int, ...], ...]:
    """`keep` of each level that an optimisation profile of its own is tuned for.

    Args:
        card: card of the model.
        sparsities: levels in any form `Plan.parse` reads; none for the single profile of `make_profile`.

    Raises:
        BuildError: the model is a fixed export, or there are too many.
        PlanError: one does not fit the model.
    """
    if not sparsities:
        return ()
    if card.windows.fixed is not None:
        raise BuildError(f"{card.name} is a fixed export of one sparsity, with nothing to tune for; leave levels out")
    plans = [Plan.parse(sparsity, card.windows.depths) for sparsity in sparsities]
    levels = tuple(dict.fromkeys(tuple(plan.keep(card.stages).tolist()) for plan in plans))
    if len(levels) > MOST_LEVELS:
        raise BuildError(f"{len(levels)} levels to tune for; each takes as long as a build: give {MOST_LEVELS} at most")
    return levels


def make_profile(card: ModelCard, batch: tuple[int, int, int] = (1, 1, 1)) -> dict[str, Range]:
    """The profile of a model, by input name.

    `keep` goes from no window at all to every window; a fixed export has no such input.

    Args:
        batch: smallest, typical and largest batch.

    Raises:
        BuildError: the batch sizes are below 1 or descend.
    """
    low, typical, high = batch
    if not 1 <= low <= typical <= high:
        raise BuildError(f"batch sizes {low},{typical},{high}: the smallest must be at least 1, and none may descend")
    shape = tuple(int(size) for size in image_spec(card).shape[1:])
    profile = {"image": Range(min=(low, *shape), opt=(typical, *shape), max=(high, *shape))}
    for extra in card.inputs:
        profile[extra.name] = Range(min=(low, *extra.shape), opt=(typical, *extra.shape), max=(high, *extra.shape))
    if card.windows.fixed is None:
        whole = tuple(dense_keep(card.stages).tolist())
        kept = tuple(Plan.uniform(TYPICAL_SPARSITY, card.windows.depths).keep(card.stages).tolist())
        profile["keep"] = Range(min=(0,) * len(whole), opt=kept, max=whole)
    return profile
