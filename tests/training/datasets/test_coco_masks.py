import json

import numpy as np
import pytest

import detection_data
from sparsevit_runtime.errors import DatasetError
from sparsevit_training.datasets import IGNORE, CocoMasks
from sparsevit_training.datasets.coco_masks import read_mask


def rewrite(annotations, change):
    document = json.loads(annotations.read_text())
    change(document["annotations"])
    annotations.write_text(json.dumps(document))


def rectangle(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def runs(mask):
    """Uncompressed run lengths: column by column, beginning with zeros."""
    flat = mask.flatten("F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return np.diff(np.concatenate([[0], edges])).tolist()


def test_labels_lie_on_the_objects(files):
    data = CocoMasks(*files, ("person", "car"))
    assert [c.name for c in data.classes] == ["background", "person", "car"] and len(data) == 4
    for i in range(len(data)):
        sample = data[i]
        for kind, color in enumerate(detection_data.COLORS, 1):
            np.testing.assert_array_equal(sample.label == kind, (sample.image == color).all(-1))
        assert sample.boxes is None


def test_categories_that_are_not_taken_are_background(files):
    data = CocoMasks(*files, ("car",), background="anything else")
    assert [c.name for c in data.classes] == ["anything else", "car"]
    assert {int(v) for i in range(4) for v in np.unique(data[i].label)} == {0, 1}


def test_smaller_objects_lie_on_top_and_crowds_below(files):
    def change(objects):
        large, small, crowd = ({**objects[0], "id": i} for i in range(3))
        large["segmentation"], large["category_id"] = rectangle(0, 0, 40, 40), 7
        small["segmentation"], small["category_id"] = rectangle(10, 10, 10, 10), 9
        crowd["segmentation"], crowd["iscrowd"] = {"size": [64, 96], "counts": [0, 64 * 96]}, 1
        objects[:] = [small, crowd, large]

    rewrite(files[0], change)
    label = CocoMasks(*files, ("person", "car"))[0].label
    expected = np.full((64, 96), IGNORE, np.uint8)
    expected[:40, :40] = 2
    expected[10:20, 10:20] = 1
    np.testing.assert_array_equal(label, expected)


def test_run_lengths_say_what_polygons_say(files):
    polygons = CocoMasks(*files, ("person", "car"))
    expected = [polygons[i].label for i in range(4)]

    def change(objects):
        for o in objects:
            x, y, w, h = o["bbox"]
            mask = np.zeros((64, 96), bool)
            mask[y : y + h, x : x + w] = True
            o["segmentation"] = {"size": [64, 96], "counts": runs(mask)}

    rewrite(files[0], change)
    encoded = CocoMasks(*files, ("person", "car"))
    for i, label in enumerate(expected):
        np.testing.assert_array_equal(encoded[i].label, label)


def test_compressed_run_lengths_say_what_pycocotools_says(files):
    from pycocotools import mask as coco

    rng = np.random.default_rng(0)
    mask = rng.random((64, 96)) > 0.6
    mask[10:40, 20:60] = True
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(read_mask({"size": [64, 96], "counts": encoded["counts"].decode()}, (64, 96)), mask)


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        [[]],
        [None],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, "x"]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[0, 0, 1e8, 0, 0, 1e8]],
        [[3, 3, 3, 3, 3, 3]],
        [[200, 200, 240, 200, 240, 240]],
        "polygon",
        5,
        {"size": [10, 10], "counts": [100]},
        {"size": [64, 96], "counts": [5, 7]},
        {"size": [64, 96], "counts": [64 * 96]},
        {"size": [64, 96], "counts": [-1, 64 * 96 + 1]},
        {"size": [64, 96], "counts": [0.5, 64 * 96 - 0.5]},
        {"size": [64, 96], "counts": [None]},
        {"size": [64, 96], "counts": ""},
        {"size": [64, 96], "counts": "111"},
        {"size": [64, 96], "counts": "o" * 40},
        {"size": [64, 96], "counts": "\u20ac"},
        {"size": [64, 96]},
        {"size": None, "counts": [64 * 96]},
        {"counts": [64 * 96]},
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_mask_costs_its_box_which_is_void(files, segmentation):
    right = CocoMasks(*files)
    rewrite(files[0], lambda objects: objects[1].update(segmentation=segmentation))
    data = CocoMasks(*files)
    assert len(data) == 4 and data.skipped == () and sum(data.left_out.values()) == 1
    x, y, w, h = json.loads(files[0].read_text())["annotations"][1]["bbox"]
    expected = right[1].label.copy()
    expected[y : y + h, x : x + w] = IGNORE
    np.testing.assert_array_equal(data[1].label, expected)


def test_an_object_that_may_be_a_crowd_is_void_and_no_background(files):
    right = CocoMasks(*files)
    rewrite(files[0], lambda objects: objects[0].update(iscrowd="perhaps"))
    data = CocoMasks(*files)
    assert data.left_out == {"whose iscrowd is neither 0 nor 1": 1}
    np.testing.assert_array_equal(data[0].label, np.where(right[0].label > 0, IGNORE, 0))


def test_an_object_of_neither_mask_nor_box_is_counted(files):
    rewrite(files[0], lambda objects: objects[0].update(segmentation=None, bbox=None))
    data = CocoMasks(*files)
    assert data.left_out == {"without a mask": 1} and not data[0].label.any()


def test_a_background_of_a_categorys_name_is_refused(files):
    with pytest.raises(DatasetError, match="'car'"):
        CocoMasks(*files, background="car")
