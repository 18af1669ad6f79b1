"""Arguments of wrong types and values: every one is a typed error that names it, and the model is still good."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import sparsevit_runtime as sparsevit
import tiny
from sparsevit_runtime.arguments import as_flag, as_number, as_path, as_text, as_whole
from sparsevit_runtime.backends import open_backend
from sparsevit_runtime.errors import ArgumentError, FrameError, ModelError, SinkError, SparseViTError
from sparsevit_runtime.model import Model, load

ODD = [None, 5, 3.5, b"x", [], {}, object(), 1j]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def model(path) -> Model:
    return load(path, threads=1)


@pytest.fixture(scope="module")
def result(model):
    return model(np.zeros((64, 96, 3), np.uint8), 0.5, activity=True)


@pytest.mark.parametrize("value", [*ODD, True])
def test_what_is_no_path(value):
    with pytest.raises(ArgumentError, match=f"model is a path or its text, got {type(value).__name__}"):
        load(value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("backend", [], "backend is text"),
        ("backend", 5, "backend is text"),
        ("threads", "2", "threads is a whole number, got str '2'"),
        ("threads", 1.5, "threads is a whole number, got float 1.5"),
        ("threads", True, "got bool"),
        ("threads", 10**9, "from -1024 to 1024"),
        ("device", 5, "device is text"),
        ("options", {}, "options is a LoadOptions, got dict"),
    ],
)
def test_how_a_model_is_not_loaded(path, name, value, message):
    with pytest.raises(ArgumentError, match=message):
        load(path, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("threshold", "half", "threshold is 'half'; give a number from 0 to 1"),
        ("threshold", True, "threshold is True"),
        ("threshold", float("nan"), "threshold is nan"),
        ("threshold", float("inf"), "threshold is inf"),
        ("threshold", [0.5], "threshold is .0.5.; give a number from 0 to 1"),
        ("activity", "no", "activity is True or False, got str 'no'"),
        ("activity", None, "got NoneType"),
        ("inputs", 3, "mapping of arrays"),
        ("inputs", "x", "mapping of arrays"),
    ],
)
def test_how_a_frame_is_not_run(model, frame, name, value, message):
    with pytest.raises(ArgumentError, match=message):
        model(frame, 0.5, **{name: value})
    with pytest.raises(SparseViTError):
        model.batch([frame], 0.5, **{name: value})
    assert model(frame).label_map.shape == frame.shape[:2]


def test_inputs_that_the_model_does_not_take_are_not_passed_over(model, frame):
    with pytest.raises(FrameError, match="tiny takes no lidar with a frame; it takes nothing"):
        model(frame, inputs={"lidar": np.zeros(3)})


@pytest.mark.parametrize("value", [3, "x", None, {}, iter([])])
def test_what_is_no_list_of_frames(model, value):
    with pytest.raises(ArgumentError, match="frames is a list of frames"):
        model.batch(value)


def test_an_array_of_frames_is_told_how_to_be_a_list(model, frame):
    with pytest.raises(ArgumentError, match=r"list\(frames\)"):
        model.batch(np.stack([frame, frame]))
    with pytest.raises(FrameError, match=r"batch: .*list\(images\)"):
        model(np.stack([frame, frame]))


@pytest.mark.parametrize("value", ["x", None, 1.5, -1])
def test_what_is_no_number_of_runs(model, value):
    with pytest.raises(ArgumentError, match="runs is a whole number"):
        model.warm_up(value)


@pytest.mark.parametrize("value", ["x", 1.5, True, object()])
def test_what_is_no_stage(frame, result, value):
    with pytest.raises(ArgumentError, match="stage is a whole number"):
        sparsevit.draw_result(np.zeros((64, 96, 3), np.uint8), result, stage=value)


@pytest.mark.parametrize("value", [2, -0.1, "x", None, float("nan"), True])
def test_what_is_no_opacity(result, value):
    with pytest.raises(ArgumentError, match="opacity is"):
        sparsevit.draw_segmentation(np.zeros((64, 96, 3), np.uint8), result, opacity=value)


@pytest.mark.parametrize("draw", [sparsevit.draw_result, sparsevit.draw_segmentation, sparsevit.draw_detections])
@pytest.mark.parametrize("value", [None, 3, np.zeros((64, 96, 3), np.uint8)])
def test_what_is_no_result(draw, value):
    with pytest.raises(ArgumentError, match="of a frame, got"):
        draw(np.zeros((64, 96, 3), np.uint8), value)


def test_a_result_of_another_task_is_not_drawn(result):
    with pytest.raises(ArgumentError, match="expected the Detections of a frame, got Segmentation"):
        sparsevit.draw_detections(np.zeros((64, 96, 3), np.uint8), result)


@pytest.mark.parametrize("value", ODD)
def test_what_is_no_place_to_save(result, value):
    with pytest.raises(ArgumentError, match="path is a path or its text"):
        result.save(value)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1], "no number for class"),
        ("abcdefgh", "no number"),
        (5, "no number"),
        ({}, "no number"),
        ([None] * 8, "no number"),
    ],
)
def test_what_are_no_categories(result, ids, message):
    with pytest.raises(ArgumentError, match=message):
        sparsevit.Detections(
            image_wh=(9, 9), xyxy=np.ones((1, 4), np.float32), confidence=np.ones(1, np.float32),
            class_id=np.array([1]), names=("a", "b"),
        ).to_coco(1, ids)  # fmt: skip
    labels = sparsevit.Segmentation(
        image_wh=(2, 2), label_map=np.ones((2, 2), np.uint8), names=("a", "b"), palette=np.zeros((2, 3), np.uint8)
    )
    with pytest.raises(ArgumentError, match=message):
        labels.to_coco(1, ids)


@pytest.mark.parametrize("value", [1.5, True, [1]])
def test_what_is_no_image_id(result, value):
    with pytest.raises(ArgumentError, match="image_id is a number or text"):
        result.to_coco(value)


@pytest.mark.parametrize(
    "change",
    [
        {"xyxy": [[1, 2, 3, 4]]}, {"xyxy": None}, {"xyxy": np.float32(3)}, {"confidence": [0.5]}, {"class_id": None},
        {"names": None}, {"names": "ab"}, {"image_wh": None}, {"image_wh": (9,)}, {"image_wh": (0, 9)},
        {"palette": np.zeros((2, 3))},
    ],
)  # fmt: skip
def test_detections_of_wrong_parts(change):
    values = {
        "image_wh": (9, 9), "xyxy": np.zeros((1, 4), np.float32), "confidence": np.zeros(1, np.float32),
        "class_id": np.zeros(1, np.int64), "names": ("a",),
    }  # fmt: skip
    sparsevit.Detections(**values)
    with pytest.raises(ArgumentError, match=next(iter(change))):
        sparsevit.Detections(**{**values, **change})


@pytest.mark.parametrize("size", ["x", None, (5,), ((1, 2), 3), (1.5, 2)])
def test_what_is_no_size(size):
    with pytest.raises(FrameError, match="frame_wh is two whole numbers"):
        sparsevit.Letterbox(size, (32, 48))


def test_checks_take_what_numpy_gives():
    assert as_number(np.float32(0.5), "x") == as_number(np.array(0.5), "x") == 0.5
    assert as_whole(np.int64(3), "x", 0, 5) == 3 and as_flag(np.True_, "x") is True
    assert as_whole(np.array(3), "x", 0, 5) == 3 and as_flag(np.array(True), "x") is True
    assert as_path(Path("a"), "x") == as_path("a", "x") == Path("a") and as_text("a", "x") == "a"


def test_argument_errors_are_what_python_programs_catch():
    for kind in (ValueError, TypeError, SparseViTError):
        with pytest.raises(kind):
            as_whole("3", "x", 0, 5)


def test_a_model_is_pickled_and_copied_by_loading_it_anew(model, frame):
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again is not model and str(again) == str(model)
        np.testing.assert_array_equal(again(frame, 0.5).label_map, model(frame, 0.5).label_map)


def test_a_model_of_an_open_backend_says_why_it_is_not_pickled(path):
    with pytest.raises(ModelError, match="only models that `load` opened can be pickled"):
        pickle.dumps(Model(open_backend(path)))


def test_an_unknown_suffix_names_those_that_work(result, tmp_path):
    with pytest.raises(SinkError, match=r"a label map can be saved as \.png or \.npy or \.json, not as 'x\.bmp'"):
        result.save(tmp_path / "x.bmp")


@pytest.mark.parametrize("of", [("x", 1, 0), (0, 5, 0), (5, 5, -1), (5, 5, 2**32), (5.0, 5, 0), (None, 5, 0)])
def test_what_is_no_probe_image(of):
    with pytest.raises(ArgumentError, match="whole number"):
        sparsevit.probe_image(*of)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"uri": None}, "a sink is text or a path, got NoneType"),
        ({"uri": 5}, "a sink is text or a path, got int"),
        ({"uri": b"x.mp4"}, "a sink is text or a path, got bytes"),
        ({"fps": "25"}, "fps is a number, got str"),
        ({"fps": True}, "fps is a number, got bool"),
        ({"overwrite": "no"}, "overwrite is True or False"),
        ({"live": None}, "live is True or False"),
    ],
)
def test_what_is_no_sink(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=message):
        sparsevit.open_sink(**{"uri": "x.mp4", **arguments})


@pytest.mark.parametrize("target", [None, 5, "out.mp4"])
def test_what_is_no_target(target):
    with pytest.raises(ArgumentError, match="target is a sink .* or a function"):
        sparsevit.Outlet(target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runner": None}, "runner is that of a model"),
        ({"outlets": 5}, "outlets is a list of `Outlet`, got int"),
        ({"outlets": [print]}, "outlets is a list of `Outlet`"),
        ({"outlets": sparsevit.Outlet(print)}, "outlets is a list of `Outlet`, got Outlet"),
        ({"limit": 0}, "limit is a whole number"),
        ({"limit_each": 2.5}, "limit_each is a whole number"),
        ({"reconnect": 5}, "reconnect is a `Reconnect`, got int"),
        ({"activity": "no"}, "activity is True or False"),
        ({"max_age_ms": "x"}, "max_age_ms is a number"),
        ({"batch": "x"}, "batch is a whole number"),
        ({"track": 5}, "track"),
        ({"threshold": "x"}, "threshold"),
    ],
)
def test_what_is_no_session(model, arguments, message):
    opened = []

    def frames():
        opened.append(True)
        yield np.zeros((8, 8, 3), np.uint8)

    with pytest.raises(ArgumentError, match=message):
        sparsevit.Session(**{"runner": model.runner, "sources": frames(), **arguments})
    assert not opened


@pytest.mark.parametrize(
    "change",
    [
        {"attempts": -1}, {"attempts": "x"}, {"attempts": 1.5}, {"jitter": 2}, {"open_timeout_s": -1},
        {"read_timeout_s": None}, {"first_wait_s": float("nan")}, {"longest_wait_s": "x"}, {"most_hanging": 0},
        {"before_first": 1},
    ],
)  # fmt: skip
def test_what_is_no_rule_to_reconnect_by(change):
    with pytest.raises(ArgumentError, match=next(iter(change))):
        sparsevit.Reconnect(**change)


@pytest.mark.parametrize("value", [None, 5, "all"])
def test_what_is_no_activity(value):
    with pytest.raises(ArgumentError, match="activity is the WindowActivity of a frame"):
        sparsevit.draw_activity(np.zeros((64, 96, 3), np.uint8), value)


@pytest.mark.parametrize("name", ["x" * 300 + ".json", "a\0.json", "~nosuchuser/a.json"])
def test_a_result_is_not_saved_where_no_file_can_be(result, name):
    with pytest.raises(SinkError, match="is no path that can be written"):
        result.save(name)
