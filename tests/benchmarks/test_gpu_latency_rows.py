"""Answers and times of the engines' benchmark, with ONNX Runtime in the engine's place."""

from __future__ import annotations

import json

import pytest

from altered_models import with_not_a_number, with_weight
from exports import small_features
from gpu import Settings
from gpu_latency_rows import Contender, agreement, time_in_turn
from sparsevit_runtime.backends import open_backend


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_features(tmp_path_factory)


def facts_of(engine, model):
    backend = open_backend(engine)
    try:
        return agreement(backend, model, 2, Settings())
    finally:
        backend.close()


def test_an_engine_that_is_right(model):
    facts = facts_of(model, model)
    assert facts["correct"] is True and "error" not in facts
    assert facts["largest_difference"] < 1e-6 and facts["least_cosine"] > 0.999999


@pytest.mark.parametrize("tensor", ["stage0", "stage2", "stage3"])
def test_nan_is_wrong_in_whichever_tensor(model, tmp_path, tensor):
    """Also where tensors that are right are compared after it."""
    facts = facts_of(with_not_a_number(model, tmp_path / "broken.onnx", tensor, 7), model)
    assert facts["correct"] is False
    assert facts["worst_tensor"].startswith(tensor) and "values are not finite" in facts["error"]
    assert facts["largest_difference"] is None and facts["least_cosine"] is None
    json.dumps(facts, allow_nan=False)


def test_a_wrong_map_is_wrong(model, tmp_path):
    facts = facts_of(with_weight(model, tmp_path / "other.onnx", "norm1.weight", lambda w: w * 1.01), model)
    assert facts["correct"] is False and facts["worst_tensor"].startswith("stage1")
    assert facts["largest_difference"] > 1e-3 and "of its scale" in facts["error"]


def test_what_fails_gets_its_reason_and_the_others_go_on():
    """Out of memory at once, and out of memory in the third round of four."""
    turns = {"steady": 0, "late": 0}

    def steady():
        turns["steady"] += 1
        return 2.0

    def late():
        turns["late"] += 1
        if turns["late"] == 8:
            raise RuntimeError("CUDA out of memory\nand a trace")
        return 1.0

    def never():
        raise MemoryError("no memory")

    works = {"steady": steady, "late": late, "never": never}
    contenders = [Contender(what, 0.0, works[what]) for what in works]
    time_in_turn([*contenders, Contender("absent", 0.0, not_run="a dry run")], rounds=4)
    assert contenders[0].samples == [2.0] * 4 and contenders[0].not_run is None
    assert [c.not_run for c in contenders[1:]] == ["RuntimeError: CUDA out of memory", "MemoryError: no memory"]
    assert [c.samples for c in contenders[1:]] == [[], []]  # no part of a series that has no partner
