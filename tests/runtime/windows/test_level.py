from __future__ import annotations

import numpy as np
import pytest

import tiny
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import PlanError
from sparsevit_runtime.windows.level import Level
from sparsevit_runtime.windows.plan import Plan

FIXED = ((0.0, 0.5), (0.0, 0.5, 0.5, 0.9))


def card(fixed=None):
    return ModelCard.model_validate(tiny.card_document(fixed=fixed))


@pytest.mark.parametrize(
    ("sparsity", "kept", "share", "text"),
    [
        (None, (24, 6, 6), 1.0, "dense"),
        (0.0, (24, 6, 6), 1.0, "dense"),
        (0.5, (12, 3, 3), 0.5, "50% pruned"),
        ([0.5, 0], (12, 6, 6), 48 / 72, "33% pruned"),
        (1.0, (0, 0, 0), 0.0, "100% pruned"),
    ],
)
def test_a_sparsity_becomes_counts_and_a_share(sparsity, kept, share, text):
    level = Level.resolve(card(), sparsity)
    assert (level.kept, level.window_share, str(level)) == (kept, share, text)
    assert level.keep.dtype == np.int64 and level.keep.tolist() == list(kept)
    assert level.is_dense == (text == "dense")


def test_a_level_does_not_change():
    level = Level.resolve(card(), 0.5)
    with pytest.raises(ValueError, match="read-only"):
        level.keep[0] = 1
    assert level == Level.resolve(card(), Plan.uniform(0.5, tiny.DEPTHS)) != Level.resolve(card(), 0.4)
    assert len({level, Level.resolve(card(), "0.5")}) == 1


def test_a_fixed_export_has_one_level():
    level = Level.resolve(card(FIXED))
    assert level.keep is None and level.kept is None and level.window_share == 48 / 72
    assert Level.resolve(card(((0.5, 0.5), (0.0,) * 4))).kept == (12, 6, 6)
    with pytest.raises(PlanError, match="fixed export"):
        Level.resolve(card(FIXED), 0.5)


def test_a_level_of_another_model_is_refused():
    with pytest.raises(PlanError, match="3 stages"):
        Level.resolve(card(), [0.1, 0.2, 0.3])
