import json

import numpy as np
import pytest

import detection_data
from sparsevit_runtime.errors import DatasetError
from sparsevit_training.datasets import IGNORE, CocoMasks


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


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, "x"]],
        "polygon",
        {"size": [10, 10], "counts": [100]},
        {"size": [64, 96], "counts": [5, 7]},
        {"size": [64, 96]},
        {"counts": [64 * 96]},
    ],
    ids=str,
)
def test_bad_masks_are_named_and_skipped(files, segmentation):
    rewrite(files[0], lambda objects: objects[1].update(segmentation=segmentation))
    data = CocoMasks(*files)
    (skipped,) = data.skipped
    assert len(data) == 3 and "1.png" in skipped.name and "mask" in skipped.reason


def test_a_background_of_a_categorys_name_is_refused(files):
    with pytest.raises(DatasetError, match="'car'"):
        CocoMasks(*files, background="car")
