from __future__ import annotations

import json
import pickle
import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

import tiny
from sparsevit_runtime.errors import ArgumentError, SelectionError, SinkError
from sparsevit_runtime.model import load
from sparsevit_runtime.tasks.instances import Instances, draw_instances

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


@pytest.mark.parametrize("form", ["rle", "counts", "polygons"])
def test_masks_for_json(form):
    result = instances()
    told = json.loads(json.dumps(result.masks(form)))
    assert [each["name"] for each in told] == ["car", "tree"]
    for each, mask in zip(told, result.mask_stack()):
        packed = coco.frPyObjects(each["segmentation"], 60, 100) if form != "rle" else each["segmentation"]
        drawn = coco.decode(packed)
        np.testing.assert_array_equal(drawn if form != "polygons" else drawn[..., 0], mask)
        assert each["area"] == mask.sum() == coco.area(coco.encode(np.asfortranarray(mask.view(np.uint8))))
        assert each["bbox"] == coco.toBbox(coco.encode(np.asfortranarray(mask.view(np.uint8)))).tolist()
    with pytest.raises(ArgumentError, match="a mask is written as"):
        instances(0).masks("png")


def test_a_mask_without_a_pixel():
    result = instances(1, grids=np.zeros((1, 28, 28), np.float32))
    (told,) = result.masks()
    assert told["area"] == 0 and told["bbox"] == [0, 0, 0, 0] and not coco.decode(told["segmentation"]).any()
    assert not result.mask(0).any() and result.masks("polygons")[0]["segmentation"] == []


def test_instances_in_coco_form():
    assert instances(0).to_coco(7) == []
    first, second = instances().to_coco(7, category_ids=[10, 20, 30])
    assert first["image_id"] == 7 and first["category_id"] == 20 and first["bbox"] == [10, 5, 20.5, 20]
    assert first["score"] == pytest.approx(0.9) and second["category_id"] == 30
    np.testing.assert_array_equal(coco.decode(first["segmentation"]), instances().mask(0))
    assert first["area"] == instances().mask(0).sum()


@pytest.mark.parametrize("count", [0, 2])
def test_instances_for_supervision(count):
    found = instances(count, track_ids=np.arange(count)).to_supervision()
    np.testing.assert_array_equal(found.mask, instances(count).mask_stack())
    assert found.data["class_name"].tolist() == ["car", "tree"][:count]
    assert found.tracker_id.tolist() == list(range(count))


def test_instances_are_saved(tmp_path):
    result = instances(track_ids=np.array([4, -1]))
    for name in ("r.json", "r.npz", "r.png"):
        result.save(tmp_path / name)
    told = json.loads((tmp_path / "r.json").read_text())
    assert told == result.to_dict() | {"masks": result.masks()} and told["objects"][0]["track_id"] == 4
    with np.load(tmp_path / "r.npz") as arrays:
        for name in ("xyxy", "confidence", "class_id", "track_ids", "grids", "grid_xyxy"):
            np.testing.assert_array_equal(arrays[name], getattr(result, name))
    numbers = cv2.imread(str(tmp_path / "r.png"), cv2.IMREAD_UNCHANGED)
    assert numbers.dtype == np.uint16
    first, second = result.mask_stack()
    np.testing.assert_array_equal(numbers, np.where(first, 1, np.where(second, 2, 0)))
    with pytest.raises(SinkError, match=r"instances can be saved as \.json or \.npz or \.png"):
        result.save(tmp_path / "r.xml")


def test_print_tells_them_in_a_line():
    assert "2 objects (1 car, 1 tree)" in str(instances()) and str(instances(0)).startswith(
        "Instances of a frame, 100x60"
    )


def many(count: int, image_wh: tuple[int, int]) -> Instances:
    boxes = np.tile(np.array([[0, 0, *image_wh]], np.float32), (count, 1))
    return instances(
        image_wh=image_wh,
        xyxy=boxes,
        grid_xyxy=boxes,
        confidence=np.linspace(0.9, 0.1, count, dtype=np.float32),
        class_id=np.zeros(count, np.int64),
        grids=np.repeat(disc()[None], count, axis=0),
    )


def test_a_hundred_masks_of_a_large_frame_take_the_memory_of_few():
    """Boolean masks of all would take 830 MB."""
    result = many(100, (3840, 2160))[::10]
    tracemalloc.start()
    records = result.to_coco(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(records) == 10 and peak < 300e6
    assert records[0]["area"] == pytest.approx(np.pi * 0.4**2 * 3840 * 2160, rel=0.01)


def test_objects_of_eighty_classes():
    result = replace(
        many(80, (64, 48)), class_id=np.arange(80), names=tuple(f"thing {i}" for i in range(80)), frame_index=3
    )
    assert [each["name"] for each in result.to_dict()["objects"]] == [f"thing {i}" for i in range(80)]
    assert [record["category_id"] for record in result.to_coco(0)] == list(range(1, 81))
    image = np.full((48, 64, 3), 90, np.uint8)
    drawn = draw_instances(image, result)
    assert drawn.shape == image.shape and (drawn != image).any()


def test_a_hundred_objects():
    result = many(100, (64, 48))
    assert result.mask_stack().shape == (100, 48, 64) and len(result.masks()) == len(result.to_coco(0)) == 100


def test_the_tint_is_that_of_the_class_and_ends_at_the_mask():
    palette = np.array([[9, 9, 9], [200, 0, 100], [0, 200, 0]], np.uint8)
    boxes = np.array([[40, 40, 240, 200]], np.float32)
    result = instances(1, image_wh=(320, 240), xyxy=boxes, grid_xyxy=boxes, palette=palette)
    image = np.random.RandomState(0).randint(60, 200, (240, 320, 3)).astype(np.uint8)
    before = image.copy()
    drawn = draw_instances(image, result, opacity=0.25)
    np.testing.assert_array_equal(image, before)
    mask = result.mask(0).view(np.uint8)
    inside, outside = cv2.erode(mask, np.ones((9, 9))) > 0, cv2.dilate(mask, np.ones((9, 9))) == 0
    assert np.abs(drawn[inside] - (0.75 * image[inside] + 0.25 * palette[1, ::-1])).max() <= 1.5
    outside[35:206, 35:246] &= False
    outside[:40] = False  # box and tag
    assert (drawn[outside] == image[outside]).all() and inside.sum() > 10000 and outside.sum() > 10000


def test_the_better_object_is_drawn_over_the_others():
    palette = np.array([[9, 9, 9], [255, 0, 0], [0, 0, 255]], np.uint8)
    boxes = np.array([[60, 60, 260, 220], [20, 30, 300, 230]], np.float32)
    result = instances(2, image_wh=(320, 240), xyxy=boxes, grid_xyxy=boxes, palette=palette)
    drawn = draw_instances(np.zeros((240, 320, 3), np.uint8), result)
    assert np.abs(drawn[140, 160].astype(int) - [0, 0, 128]).max() <= 1  # red alone, BGR
    assert np.abs(drawn[140, 64].astype(int) - [128, 0, 0]).max() <= 1


@pytest.mark.parametrize("box", [(5, 5, 5, 20), (3, 3, 3.5, 3.5), (-30, -30, -10, -10), (-9, 50, 400, 900)], ids=str)
def test_masks_of_no_room_are_drawn(box):
    boxes = np.array([box], np.float32)
    result = instances(1, grid_xyxy=boxes, xyxy=boxes.clip(0, 60))
    assert draw_instances(np.zeros((60, 100, 3), np.uint8), result).shape == (60, 100, 3)
    assert result.plot(np.zeros((60, 100, 3), np.uint8)).shape == (60, 100, 3)
