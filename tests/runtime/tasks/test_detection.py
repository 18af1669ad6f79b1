import json

import numpy as np
import pytest

from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.tasks.detection import Detections

NAMES = ("road", "car", "tree")


def detections(count=2, **change):
    values = {
        "image_wh": (100, 60),
        "xyxy": np.array([[10, 5, 30.5, 25], [0, 0, 100, 60]], np.float32)[:count],
        "confidence": np.array([0.9, 0.5], np.float32)[:count],
        "class_id": np.array([1, 2])[:count],
        "names": NAMES,
    }
    return Detections(**{**values, **change})


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


def test_detections_are_saved_as_json(tmp_path):
    detections().save(tmp_path / "objects.json")
    assert json.loads((tmp_path / "objects.json").read_text()) == detections().to_dict()
    with pytest.raises(SinkError, match="can be saved as"):
        detections().save(tmp_path / "objects.xml")
    assert [path.name for path in tmp_path.iterdir()] == ["objects.json"]
