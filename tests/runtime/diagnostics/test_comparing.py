"""Models against models, their weights or answers altered, and engines on a simulated GPU against their files."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from altered_models import card_of, with_not_a_number, with_weight
from engine_folder import EngineFolder, beside
from simulated_gpu import Cuda
from sparsevit_runtime import diagnostics
from sparsevit_runtime.backends import open_backend
from sparsevit_runtime.card import CARD_KEY
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.diagnostics.comparing import compare_run, find_source
from sparsevit_runtime.errors import ModelError
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.model import load
from sparsevit_runtime.tensorrt import read_sidecar
from sparsevit_runtime.windows.plan import Plan, dense_keep


def compare(path, against):
    with load(path, threads=1) as model:
        return diagnostics.compare(model, against, file=path.name)


def test_a_model_agrees_with_itself_on_other_threads(features):
    report = compare(features, features)
    assert report.agrees and report.precision == "fp32" and report.worst.of_limit <= 1
    assert (report.model, report.against) == ("features.onnx", "features.onnx")
    assert report.runs == ("dense, batch 1", "30% pruned, batch 2", "60% pruned, batch 1")
    with load(features, threads=1) as model:
        assert sorted(row.tensor for row in report.tensors) == sorted(model.backend.output_names)
        assert {row.run for row in report.tensors} <= set(report.runs)
        with load(features, threads=2) as other:  # loaded already, and left open
            again = diagnostics.compare(model, other, ratios=(0.5,), batches=(3, 3), outputs=["stage3"])
            assert other.backend.run(feeds_of(probe_image(96, 128, 0)[None]), ["stage3"])
    assert again.agrees and again.runs == ("50% pruned, batch 3",)
    assert [row.tensor for row in again.tensors] == ["stage3"]
    assert (again.model, again.against) == (card_of(features).name,) * 2


@pytest.mark.parametrize(
    ("weight", "change", "worst", "problem"),
    [
        ("norm1.weight", lambda w: w * 1.01, "stage1", "of its scale, 0.001 is accepted"),
        ("norm2.bias", lambda b: np.where(np.arange(b.size) == 5, np.nan, b), "stage2", "values are not finite"),
        ("norm3.bias", lambda b: np.where(np.arange(b.size) == 0, np.inf, b), "stage3", "values are not finite"),
    ],
)
def test_an_altered_weight_is_found_and_its_tensor_named(features, tmp_path, weight, change, worst, problem):
    report = compare(with_weight(features, tmp_path / "altered.onnx", weight, change), features)
    assert not report.agrees
    assert report.worst.tensor == worst and problem in report.worst.problem
    assert [row.tensor for row in report.tensors if not row.agrees] == [worst]  # and nothing else


def test_window_orders_are_compared(features, tmp_path):
    spread = np.linspace(-9, 9, 8)
    altered = with_weight(features, tmp_path / "a.onnx", "patch_embed.norm.bias", lambda b: spread)
    report = compare(altered, features)
    assert {"windows0", "stage0"} <= {row.tensor for row in report.tensors if not row.agrees}


def test_other_images_are_taken_only_where_other_windows_were_computed(features, tmp_path):
    spread = np.linspace(-9, 9, 8)
    altered = with_weight(features, tmp_path / "a.onnx", "patch_embed.norm.bias", lambda b: spread)
    taken = []

    def images():
        for seed in range(3):
            taken.append(seed)
            yield probe_image(96, 128, seed)[None]

    reference, other = open_backend(features), open_backend(altered)
    keep = Plan.uniform(0.6, reference.card.windows.depths).keep(reference.card.stages)
    outputs = ["stage0", "stage3"]
    for candidate, plan, right, count in ((reference, keep, True, 1), (other, keep, False, 3), (other, None, False, 1)):
        taken.clear()
        plan = dense_keep(reference.card.stages) if plan is None else plan
        rows = compare_run(candidate, reference, images(), plan, outputs, "fp32", "a plan")
        assert [row.tensor for row in rows] == outputs  # of one of the images taken
        assert all(row.agrees == right for row in rows)
        assert len(taken) == count
    reference.close()
    other.close()


def test_one_value_that_is_no_number_is_found_wherever_it_is(features, tmp_path):
    record = next(o for o in card_of(features).checks[0].outputs if o.name == "stage0")
    position = next(p for p in range(int(np.prod(record.shape))) if p not in record.positions)
    broken = with_not_a_number(features, tmp_path / "broken.onnx", "stage0", position)
    report = compare(broken, features)
    assert not report.agrees and report.worst.tensor == "stage0"
    assert "1 of its 6144 values are not finite" in report.worst.problem
    with load(broken, threads=1) as model:  # not among the values recorded, either
        recorded = diagnostics.check(model)
    assert not recorded.agrees and "1 of its 6144 values are not finite" in recorded.worst.problem


def test_half_precision_has_limits_of_its_own(features, tmp_path):
    near = with_weight(features, tmp_path / "near.onnx", "norm1.weight", lambda w: w * 1.003)
    assert not compare(near, features).agrees
    proto = onnx.load(near)
    helper.set_model_props(proto, {CARD_KEY: card_of(near).model_copy(update={"precision": "fp16"}).to_json()})
    half = tmp_path / "half.onnx"
    onnx.save(proto, half)
    for one, other in ((half, features), (features, half)):
        report = compare(one, other)
        assert report.agrees and report.precision == "fp16", report.worst


def test_fixed_plans_and_detectors(tiny_model):
    fixed = tiny_model("fixed", fixed=((0.5, 0.5), (0.0, 0.0, 0.5, 0.5)), layout="normalized")
    matrix = tiny_model("matrix", matrix=True)  # of zeros with each frame
    assert compare(matrix, matrix).agrees
    report = compare(fixed, fixed)
    assert report.agrees and report.runs == ("fixed plan, batch 1", "fixed plan, batch 2")
    boxes = [(1.0, 2.0, 30.0, 20.0), (3.0, 4.0, 9.0, 8.0)]
    detector = {"task": "detection", "scores": [0.9, 0.5], "classes": [1, 2]}
    right = tiny_model("right", boxes=boxes, **detector)
    wrong = tiny_model("wrong", boxes=[(1.0, 2.0, 30.0, 29.0), boxes[1]], **detector)
    assert compare(right, right).agrees
    report = compare(wrong, right)
    assert not report.agrees and report.worst.tensor == "boxes"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hw": (64, 48)}, "not the same network at the same size: input"),
        ({"layout": "normalized"}, "not the same network at the same size: input"),
        ({"task": "backbone"}, "not the same network at the same size: task segmentation against backbone"),
        ({"fixed": ((0.5, 0.5), (0.0, 0.0, 0.5, 0.5))}, "not the same network at the same size: windows"),
    ],
)
def test_what_cannot_be_compared(tiny_model, given, message):
    with pytest.raises(ModelError, match=message):
        compare(tiny_model("one"), tiny_model("other", **given))


@pytest.fixture
def engines(tmp_path, monkeypatch):
    folder = tmp_path / "engines"
    folder.mkdir()
    return EngineFolder(folder, monkeypatch)


def test_an_engine_is_run_at_the_batches_it_was_built_for(features, engines):
    report = compare(engines.write(features, features, batch=(2, 4, 8)), features)
    assert report.agrees, report.worst
    assert report.runs == ("dense, batch 2", "30% pruned, batch 4", "60% pruned, batch 2")
    assert report.library == "tensorrt 10.3.0" and report.against_device == "cpu"


def test_an_engine_that_computes_something_else(features, engines, tmp_path):
    altered = with_weight(features, tmp_path / "altered.onnx", "norm1.weight", lambda w: w * 1.01)
    report = compare(engines.write(altered, features), features)
    assert not report.agrees and report.worst.tensor == "stage1"


def test_only_what_a_graph_replays_is_wrong(features, engines, monkeypatch):
    """The first run is right. From the second on the engine answers what it answered before."""
    engine = engines.write(features, features)
    monkeypatch.setattr(Cuda, "cudaGraphLaunch", lambda self, graph, stream: None)
    assert not compare(engine, features).agrees


def test_tf32_has_the_limits_of_half_precision(features, engines, tmp_path):
    near = with_weight(features, tmp_path / "near.onnx", "norm1.weight", lambda w: w * 1.003)
    report = compare(engines.write(near, features), features)
    assert (report.agrees, report.precision) == (False, "fp32")
    report = compare(engines.write(near, features, tf32=True), features)
    assert (report.agrees, report.precision) == (True, "fp16")


@pytest.mark.parametrize("wrong", [False, True])
def test_an_engine_against_what_was_recorded_at_export(features, engines, tmp_path, wrong):
    answers = features
    if wrong:
        answers = with_weight(features, tmp_path / "altered.onnx", "norm1.weight", lambda w: w * 1.5)
    with load(engines.write(answers, features, batch=(2, 2, 2))) as model:
        report = diagnostics.check(model)
    assert report.agrees == (not wrong)
    if wrong:
        assert report.worst.output == "stage1"


def test_the_file_an_engine_was_built_from_is_told_by_its_content(features, engines):
    engine = engines.write(features, features)
    card = read_sidecar(engine)
    assert find_source(engine, card) is None
    engine.with_name("m.onnx").write_bytes(b"another file of its name")
    assert find_source(engine, card) is None
    source = beside(engine, features, "elsewhere.onnx")
    assert find_source(engine, card) == source
