"""What the benchmark of ONNX Runtime says of answers, with sessions on the CPU in the place of those on CUDA."""

from __future__ import annotations

import json

import pytest

from altered_models import with_not_a_number, with_weight
from exports import small_features
from gpu import Settings, main
from gpu_ort_rows import agreement_with_cpu, cpu_answers
from sparsevit_runtime.backends import open_backend
from sparsevit_runtime.custom_ops import VARIABLE


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_features(tmp_path_factory)


def facts_of(session, model, frames=0):
    backend = open_backend(session)
    try:
        return agreement_with_cpu(backend, cpu_answers(model, Settings()), "fp32", frames)
    finally:
        backend.close()


def test_a_session_that_is_right_at_every_plan_batch_and_order(model):
    facts = facts_of(model, model, frames=40)
    assert facts["correct"] is True and facts["runs_checked"] == 3 * 4 * len(Settings().ratios) + 40
    assert facts["largest_difference"] < 1e-6 and facts["least_cosine"] > 0.999999


def test_one_that_is_not(model, tmp_path):
    changed = facts_of(with_weight(model, tmp_path / "other.onnx", "norm1.weight", lambda w: w * 1.01), model)
    assert changed["correct"] is False and changed["largest_difference"] > 1e-3
    broken = facts_of(with_not_a_number(model, tmp_path / "broken.onnx", "stage2", 7), model)
    assert broken["correct"] is False and broken["largest_difference"] is None
    json.dumps(broken, allow_nan=False)


def test_a_library_of_ops_that_is_none_is_told_before_anything_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, "/elsewhere/ops.so")
    line = ["--dry-run", "--only", "onnxruntime", "--ops", str(tmp_path / "none.so"), "-o", str(tmp_path / "gpu.json")]
    assert main(line) == 2
    assert "no library of custom ops" in capsys.readouterr().err and not (tmp_path / "gpu.json").exists()
