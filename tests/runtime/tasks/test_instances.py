from __future__ import annotations

import pickle

import numpy as np
import pytest

import tiny
from sparsevit_runtime.errors import SelectionError
from sparsevit_runtime.model import load
from sparsevit_runtime.tasks.instances import Instances

NAMES = ("road", "car", "tree")


def disc(cells: int = 28) -> np.ndarray:
    """A round mask, (cells, cells) float32, soft at its edge."""
    y, x = (np.mgrid[:cells, :cells] + 0.5) / cells - 0.5
    return (1 / (1 + np.exp((np.hypot(x, y) - 0.4) * 40))).astype(np.float32)


def instances(count=2, **change) -> Instances:
    boxes = np.array([[10, 5, 30.5, 25], [0, 0, 100, 60]], np.float32)[:count]
    values = {
        "image_wh": (100, 60),
        "xyxy": boxes,
        "confidence": np.array([0.9, 0.5], np.float32)[:count],
        "class_id": np.array([1, 2])[:count],
        "names": NAMES,
        "grids": np.stack([disc(), disc()])[:count],
        "grid_xyxy": boxes,
    }
    return Instances(**{**values, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xyxy": np.zeros((2, 5), np.float32)}, r"xyxy must be \(2, 4\) float32, got \(2, 5\)"),
        ({"grids": np.zeros((3, 28, 28), np.float32)}, r"grids must be \(2, N, N\) float32, got \(3, 28, 28\)"),
        ({"grids": np.zeros((2, 28, 28), bool)}, "grids must be .* float32, got .* bool"),
        ({"grid_xyxy": np.zeros((1, 4), np.float32)}, r"grid_xyxy must be \(2, 4\)"),
    ],
)
def test_instances_check_their_arrays(change, message):
    with pytest.raises(ValueError, match=message):
        instances(**change)


def test_masks_are_in_the_pixels_of_the_frame():
    result = instances()
    masks = result.mask_stack()
    assert masks.shape == (2, 60, 100) and masks.dtype == bool
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(result.mask(i), mask)
    rows, columns = np.flatnonzero(masks[0].any(axis=1)), np.flatnonzero(masks[0].any(axis=0))
    assert (columns[0] + columns[-1] + 1) / 2 == pytest.approx(20.25, abs=0.5)  # the middle of the box
    assert (rows[0] + rows[-1] + 1) / 2 == pytest.approx(15, abs=0.5)
    assert np.pi * 0.4**2 * 20.5 * 20 == pytest.approx(masks[0].sum(), rel=0.02)
    np.testing.assert_array_equal(result.mask(-1), masks[1])
    with pytest.raises(SelectionError, match="no object 2 among 2"):
        result.mask(2)


def test_objects_are_selected_with_their_masks():
    result = instances()
    second = result[1]
    assert isinstance(second, Instances) and len(second) == 1
    np.testing.assert_array_equal(second.mask(0), result.mask(1))
    assert len(result[result.confidence > 0.95].mask_stack()) == 0
    assert [found.name for found in result] == ["car", "tree"]


def test_nothing_found():
    result = instances(0)
    assert result.empty and result.mask_stack().shape == (0, 60, 100) and result.to_dict()["objects"] == []


def test_instances_survive_pickling():
    back = pickle.loads(pickle.dumps(instances()))
    np.testing.assert_array_equal(back.mask_stack(), instances().mask_stack())


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_a_model_answers_in_the_pixels_of_the_frame(tmp_path, resize):
    """The input is 48 x 32; the frame 96 x 96, letterboxed into columns 8 to 40."""
    boxes = [(12.0, 8.0, 36.0, 24.0), (0.0, 0.0, 16.0, 32.0), (0.0, 0.0, 0.0, 0.0)]
    masks = np.stack([disc(), np.ones((28, 28), np.float32), np.zeros((28, 28), np.float32)])
    path = tiny.write_model(
        tmp_path / "m.onnx",
        "instances",
        resize=resize,
        boxes=boxes,
        scores=[0.9, 0.6, 0],
        classes=[6, 2, 0],
        masks=masks,
    )
    with load(path, threads=1) as model:
        result = model(np.zeros((96, 96, 3), np.uint8), threshold=0.0)
    assert isinstance(result, Instances) and result.to_dict()["task"] == "instances" == model.task
    assert result.class_id.tolist() == [6, 2]  # the row past the last object is none
    if resize == "stretch":
        assert result.xyxy.tolist() == [[24, 24, 72, 72], [0, 0, 32, 96]]
        assert result.grid_xyxy.tolist() == result.xyxy.tolist()
    else:
        assert result.xyxy.tolist() == [[12, 24, 84, 72], [0, 0, 24, 96]]
        assert result.grid_xyxy.tolist() == [[12, 24, 84, 72], [-24, 0, 24, 96]]  # a mask reaches into the border
    assert result.mask(1).sum() == result.xyxy[1, 2] * 96
