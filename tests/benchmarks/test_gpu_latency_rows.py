"""What the benchmark says of an engine's answers, with ONNX Runtime in the engine's place."""

from __future__ import annotations

import json

import pytest
import torch
from gpu_latency_rows import agreement

from altered_models import with_not_a_number, with_weight
from gpu import Settings
from networks import randomize
from sparsevit_exporter import ExportOptions, SparseViT, export
from sparsevit_runtime.backends import open_backend


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    torch.manual_seed(0)
    assert export(randomize(SparseViT(8, (1, 1, 1, 1), (1, 1, 2, 2)), seed=5), path, ExportOptions(64, 96)).holds
    return path


def facts_of(engine, model):
    backend = open_backend(engine)
    try:
        return agreement(backend, model, (1, 2), Settings())
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
    facts = facts_of(with_weight(model, tmp_path / "other.onnx", "norms.1.weight", lambda w: w * 1.01), model)
    assert facts["correct"] is False and facts["worst_tensor"].startswith("stage1")
    assert facts["largest_difference"] > 1e-3 and "of its scale" in facts["error"]
