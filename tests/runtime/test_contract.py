from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import tiny
from sparsevit_runtime import load
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.contract import TensorSpec, feeds_of
from sparsevit_runtime.errors import BackendError, CardError, FrameError, ModelError, PlanError
from sparsevit_runtime.model import bundled_models
from sparsevit_runtime.tasks import task_of

IMAGES = np.zeros((2, 32, 48, 3), np.uint8)
ORDERS = ("windows0", "shifted_windows0", "windows1", "shifted_windows1")


def contract(**changes):
    return task_of(ModelCard.model_validate({**tiny.card_document(), **changes})).contract


def specs(found, **changes):
    """Those of a graph that does what its card says, with other shapes for some."""
    return [TensorSpec(s.name, s.dtype, changes.get(s.name, s.shape)) for s in found]


@pytest.mark.parametrize(
    ("task", "answers"),
    [
        ("segmentation", ["(batch, label_rows, label_columns) uint8"]),
        ("detection", ["(batch, detections, 4) float32", "(batch, detections) float32", "(batch, detections) int64"]),
        ("backbone", ["(batch, 1, 8, 12) float32", "(batch, 2, 4, 6) float32"]),
    ],
)
def test_the_outputs_are_those_of_the_task_and_the_window_orders(task, answers):
    found = contract(task=task)
    assert [str(spec) for spec in found.outputs] == [*answers, *["(batch, 24) int32"] * 2, *["(batch, 6) int32"] * 2]
    assert found.orders == ORDERS
    assert [(s.name, str(s)) for s in found.inputs] == [
        ("image", "(batch, 32, 48, 3) uint8"),
        ("keep", "(3) int64"),
    ]


def test_a_fixed_export_sorts_what_it_keeps_and_takes_no_keep():
    fixed = contract(windows={"window_size": 2, "depths": [2, 4], "fixed": [[0.0, 0.5], [0.0, 0.0, 0.5, 1.0]]})
    assert [spec.name for spec in fixed.inputs] == ["image"]
    assert {s.name: s.shape for s in fixed.outputs[1:]} == {"shifted_windows0": ("batch", 12), "windows1": ("batch", 3)}


@pytest.mark.parametrize("name", sorted(bundled_models()))
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windows": {"window_size": 14}}, r"input 'keep'|output '(shifted_)?windows0'"),
        ({"windows": {"depths": [2, 2, 2, 4]}}, "input 'keep'"),
        ({"input": {"height": 224}}, "input 'image'"),
    ],
)
def test_a_card_that_contradicts_its_graph_is_refused(name, change, message, tmp_path):
    import onnx

    model = onnx.load(bundled_models()[name])
    (entry,) = (entry for entry in model.metadata_props if entry.key == "sparsevit_card")
    document = json.loads(entry.value)
    for part, values in change.items():
        document[part] |= values
    entry.value = json.dumps(document)
    onnx.save(model, tmp_path / "liar.onnx")
    with pytest.raises(ModelError, match=message):
        load(tmp_path / "liar.onnx", threads=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": ("n", 32, 48, 3), "labels": ("n", 8, 12)}, None),
        ({"image": (1, 32, 48, 3), "labels": (1, 8, 12)}, None),
        ({"image": (1, 32, 48, 3), "labels": (2, 8, 12)}, r"'labels'.* is \(2, 8, 12\) .*says \(1, "),
        ({"windows0": ("batch", 25)}, r"'windows0' of x is \(batch, 25\) int32, its card says \(batch, 24\) int32"),
        ({"keep": (2,)}, r"input 'keep' of x is \(2\)"),
        ({"labels": ("batch", 8)}, "output 'labels'"),
    ],
)
def test_static_shapes_are_compared_and_symbolic_ones_agree_with_each_other(changes, message):
    found = contract()
    inputs, outputs = specs(found.inputs, **changes), specs(found.outputs, **changes)
    if message is None:
        found.check_graph(inputs, outputs, "x")
        return
    with pytest.raises(ModelError, match=message):
        found.check_graph(inputs, outputs, "x")


@pytest.mark.parametrize(
    ("dtype", "taken"), [(np.int32, True), (np.int64, True), (np.int16, False), (np.float64, False)]
)
def test_window_orders_may_be_those_of_files_exported_before(dtype, taken):
    found = contract()
    outputs = [replace(s, dtype=np.dtype(dtype)) if s.name in found.orders else s for s in found.outputs]
    if taken:
        found.check_graph(found.inputs, outputs, "x")
        return
    with pytest.raises(ModelError, match=f"'windows0' of x is .* {np.dtype(dtype)}, its card says .* int32"):
        found.check_graph(found.inputs, outputs, "x")


@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_what_never_had_another_type_has_one(dtype):
    found = contract(task="detection")
    outputs = [replace(s, dtype=np.dtype(dtype)) if s.name == "classes" else s for s in found.outputs]
    with pytest.raises(ModelError, match=f"'classes' of x is .* {np.dtype(dtype)}, its card says .* int64"):
        found.check_graph(found.inputs, outputs, "x")


def test_boxes_scores_and_classes_are_of_one_number():
    found = contract(task="detection")
    outputs = specs(found.outputs, boxes=("batch", 100, 4), scores=("batch", 100), classes=("batch", 99))
    with pytest.raises(ModelError, match=r"'classes' of x is \(batch, 99\) int64, its card says \(batch, 100\)"):
        found.check_graph(found.inputs, outputs, "x")


MATRIX = {"name": "homography", "shape": [3, 3]}


@pytest.mark.parametrize(
    ("feeds", "error", "message"),
    [
        (feeds_of(IMAGES), FrameError, r"takes 'homography' \(batch, 3, 3\) float32 with each frame, and got none"),
        (feeds_of(IMAGES) | {"homography": np.eye(3, dtype=np.float32)}, FrameError, r"\(2, 3, 3\) float32, got"),
        (feeds_of(IMAGES) | {"homography": np.zeros((1, 3, 3), np.float32)}, FrameError, r"\(2, 3, 3\) float32, got"),
        (feeds_of(IMAGES) | {"depth": IMAGES}, BackendError, "no input 'depth'; it takes image, keep, homography"),
        ({"keep": np.array([24, 6, 6])}, FrameError, "takes 'image'"),
        (feeds_of(IMAGES, np.array([24, 7, 6])), PlanError, "0 to 6"),
    ],
)
def test_feeds_that_do_not_fit(feeds, error, message):
    with pytest.raises(error, match=message):
        contract(inputs=[MATRIX]).check_feeds(feeds, "tiny.onnx")


@pytest.mark.parametrize(
    "entry", [{"name": "keep", "shape": []}, {"name": "a b", "shape": [3]}, {"name": "m", "shape": [0]}]
)
def test_inputs_that_no_card_may_name(entry):
    with pytest.raises(CardError, match="inputs.0"):
        ModelCard.from_json(json.dumps({**tiny.card_document(), "inputs": [entry]}))


def test_a_card_without_inputs_is_what_earlier_versions_read():
    plain = ModelCard.model_validate(tiny.card_document())
    assert "inputs" not in json.loads(plain.to_json())
    with_matrix = ModelCard.model_validate({**tiny.card_document(), "inputs": [MATRIX]})
    assert ModelCard.from_json(with_matrix.to_json()) == with_matrix
