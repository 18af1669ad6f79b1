import json

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import ArgumentError, SinkError
from sparsevit_runtime.tasks.segmentation import Segmentation

NAMES = ("road", "car", "tree")
PALETTE = np.array([[90, 90, 90], [200, 0, 0], [0, 200, 0]], np.uint8)


def segmentation(**change):
    label_map = np.zeros((4, 5), np.uint8)
    label_map[1:3, 2:5] = 2
    return Segmentation(**{"image_wh": (5, 4), "label_map": label_map, "names": NAMES, "palette": PALETTE, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_map": np.zeros((5, 4), np.uint8)}, r"label_map must be \(4, 5\) uint8, got \(5, 4\)"),
        ({"label_map": np.zeros((4, 5), np.int64)}, "int64"),
        ({"palette": PALETTE[:2]}, r"palette must be \(3, 3\) uint8, got \(2, 3\)"),
    ],
)
def test_segmentations_check_their_arrays(change, message):
    with pytest.raises(ValueError, match=message):
        segmentation(**change)


def decode_counts(record):
    """COCO's run lengths, read as its specification says: columns, zeros first."""
    height, width = record["segmentation"]["size"]
    values = np.repeat(np.arange(len(record["segmentation"]["counts"])) % 2, record["segmentation"]["counts"])
    return values.reshape(width, height).T.astype(bool)


def test_segmentations_in_coco_form():
    road, tree = segmentation().to_coco(7, category_ids=[11, 12, 13])
    assert (road["category_id"], tree["category_id"], tree["image_id"]) == (11, 13, 7)
    assert tree["segmentation"] == {"size": [4, 5], "counts": [9, 2, 2, 2, 2, 2, 1]}
    assert road["segmentation"]["counts"][0] == 0  # the first pixel is road: no zeros before it
    assert (tree["area"], tree["bbox"], road["bbox"]) == (6, [2, 1, 3, 2], [0, 0, 5, 4])
    json.dumps([road, tree])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (13, 9)])
def test_run_lengths_give_the_label_map_back(size):
    label_map = np.random.RandomState(0).randint(0, 3, size).astype(np.uint8)
    back = np.full(size, 255, np.uint8)
    for record in segmentation(label_map=label_map, image_wh=size[::-1]).to_coco(0):
        back[decode_counts(record)] = record["category_id"] - 1
    np.testing.assert_array_equal(back, label_map)


def test_segmentations_for_supervision():
    found = segmentation().to_supervision()
    assert found.data["class_name"].tolist() == ["road", "tree"]
    assert found.xyxy.tolist() == [[0, 0, 5, 4], [2, 1, 5, 3]] and found.mask.sum(axis=(1, 2)).tolist() == [14, 6]


def test_pixels_beyond_the_classes_are_nobodys():
    result = segmentation(label_map=np.full((4, 5), 255, np.uint8))
    assert result.class_pixels().tolist() == [0, 0, 0] and result.to_dict()["class_shares"] == {}
    assert result.to_coco(1) == [] and len(result.to_supervision()) == 0


def test_segmentations_as_dictionary():
    assert segmentation().to_dict()["class_shares"] == {"road": 0.7, "tree": 0.3}


def test_segmentations_are_saved_as_png(tmp_path):
    segmentation().save(tmp_path / "labels.png")
    saved = cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(saved, segmentation().label_map)
    with pytest.raises(SinkError, match="can be saved as"):
        segmentation().save(tmp_path / "labels.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.png"]


def test_segmentations_are_saved_as_array_and_json(tmp_path):
    result = segmentation()
    result.save(tmp_path / "labels.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), result.label_map)
    result.save(str(tmp_path / "labels.JSON"))
    assert json.loads((tmp_path / "labels.JSON").read_text()) == result.to_dict()


def test_segmentations_are_printed_in_a_line():
    told = "Segmentation of a frame, 5x4, road 70%, tree 30%, 50% pruned"
    assert str(segmentation(window_share=0.5)) == told and repr(segmentation(window_share=0.5)) == f"<{told}>"
    assert "no class, dense" in str(segmentation(label_map=np.full((4, 5), 255, np.uint8)))


def test_coco_records_of_a_stream_are_numbered_by_frame():
    assert {record["image_id"] for record in segmentation(frame_index=9).to_coco()} == {9}


@pytest.mark.parametrize("form", ["counts", "rle", "polygons"])
def test_masks_are_those_of_the_label_map(form):
    label_map = np.kron(np.random.RandomState(1).randint(0, 3, (9, 14)), np.ones((5, 6))).astype(np.uint8)
    result = segmentation(label_map=label_map, image_wh=label_map.shape[::-1])
    found = json.loads(json.dumps(result.masks(form)))
    assert [each["name"] for each in found] == list(NAMES)
    for each, record in zip(found, result.to_coco(masks=form), strict=True):
        mask = label_map == each["class_id"]
        assert each["area"] == mask.sum() and each["segmentation"] == record["segmentation"]
        assert record["iscrowd"] == (form != "polygons")
    assert segmentation(label_map=np.full((4, 5), 255, np.uint8)).masks(form) == []


@pytest.mark.parametrize("form", ["png", None, 3])
@pytest.mark.parametrize("label", [0, 255])
def test_masks_of_another_form_are_refused(label, form):
    result = segmentation(label_map=np.full((4, 5), label, np.uint8))
    with pytest.raises(ArgumentError, match="counts, rle, polygons"):
        result.masks(form)
    with pytest.raises(ArgumentError, match="counts, rle, polygons"):
        result.to_coco(masks=form)
