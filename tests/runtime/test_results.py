import json
import os

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.tasks.backbone import Features
from sparsevit_runtime.tasks.detection import Detections
from sparsevit_runtime.tasks.results import Timings
from sparsevit_runtime.tasks.segmentation import Segmentation

NAMES = ("road", "car", "tree")
PALETTE = np.array([[90, 90, 90], [200, 0, 0], [0, 200, 0]], np.uint8)


def detections(count=2, **change):
    values = {
        "image_wh": (100, 60),
        "xyxy": np.array([[10, 5, 30.5, 25], [0, 0, 100, 60]], np.float32)[:count],
        "confidence": np.array([0.9, 0.5], np.float32)[:count],
        "class_id": np.array([1, 2])[:count],
        "names": NAMES,
    }
    return Detections(**{**values, **change})


def segmentation(**change):
    label_map = np.zeros((4, 5), np.uint8)
    label_map[1:3, 2:5] = 2
    return Segmentation(**{"image_wh": (5, 4), "label_map": label_map, "names": NAMES, "palette": PALETTE, **change})


def test_timings_add_up():
    timings = Timings(1.0, 2.0, 3.5, 0.25)
    assert timings.total_ms == 6.75 and timings.to_dict()["inference_ms"] == 3.5
    assert Timings().total_ms == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xyxy": np.zeros((2, 5), np.float32)}, r"xyxy must be \(2, 4\) float32, got \(2, 5\)"),
        ({"xyxy": np.zeros((2, 4))}, "float64"),
        ({"confidence": np.zeros(3, np.float32)}, r"confidence must be \(2,\) float32, got \(3,\)"),
        ({"class_id": np.zeros(2, np.int32)}, "class_id must be .* int64, got .* int32"),
        ({"class_id": np.array([0, 3])}, "class_id must be 0 to 2, got 0 to 3"),
        ({"class_id": np.array([-1, 0])}, "got -1 to 0"),
    ],
)
def test_detections_check_their_arrays(change, message):
    with pytest.raises(ValueError, match=message):
        detections(**change)


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


def test_features_check_their_maps():
    with pytest.raises(ValueError, match="map 1 must be"):
        Features(image_wh=(4, 4), maps=(np.zeros((1, 2, 2), np.float32), np.zeros((2, 2), np.float32)))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_detections_as_dictionary(count):
    result = detections(count, frame_index=3, timestamp_ns=5, keep=(4, 2), window_share=0.5, dropped=1)
    document = json.loads(json.dumps(result.to_dict()))
    assert len(result) == len(document["objects"]) == count
    assert document["schema"] == 1 and document["frame"] == 3 and document["image_wh"] == [100, 60]
    assert document["keep"] == [4, 2] and document["dropped"] == 1
    if count:
        assert document["objects"][0] == {"class_id": 1, "name": "car", "confidence": 0.9, "xyxy": [10, 5, 30.5, 25]}


def test_detections_in_coco_form():
    assert detections(0).to_coco(7) == []
    first, second = detections().to_coco(7)
    assert first == {"image_id": 7, "category_id": 2, "bbox": [10, 5, 20.5, 20], "score": pytest.approx(0.9)}
    assert second["category_id"] == 3
    assert [r["category_id"] for r in detections().to_coco(7, category_ids=[10, 20, 30])] == [20, 30]


@pytest.mark.parametrize("count", [0, 2])
def test_detections_for_supervision(count):
    found = detections(count).to_supervision()
    assert found.xyxy.shape == (count, 4)
    assert found.data["class_name"].tolist() == ["car", "tree"][:count]


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


def test_saving(tmp_path):
    segmentation().save(tmp_path / "labels.png")
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_UNCHANGED), segmentation().label_map
    )
    detections().save(tmp_path / "objects.json")
    assert json.loads((tmp_path / "objects.json").read_text()) == detections().to_dict()
    maps = (np.ones((2, 3, 4), np.float32), np.zeros((4, 2, 2), np.float32))
    Features(image_wh=(4, 4), maps=maps).save(tmp_path / "maps.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "maps.npz")["stage0"], maps[0])
    assert sorted(os.listdir(tmp_path)) == ["labels.png", "maps.npz", "objects.json"]


@pytest.mark.parametrize(("result", "name"), [(segmentation(), "labels.jpg"), (detections(), "objects.xml")])
def test_other_suffixes_are_refused(tmp_path, result, name):
    with pytest.raises(SinkError, match="can be saved as"):
        result.save(tmp_path / name)
    assert not os.listdir(tmp_path)
