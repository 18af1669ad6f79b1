import json

import numpy as np
import pytest

from sparsevit_runtime.errors import SelectionError, SinkError
from sparsevit_runtime.tasks.detection import Detection, Detections

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


def many() -> Detections:
    boxes = np.arange(20, dtype=np.float32).reshape(5, 4)
    scores = np.array([0.9, 0.8, 0.6, 0.4, 0.3], np.float32)
    return detections(xyxy=boxes, confidence=scores, class_id=np.array([1, 2, 1, 0, 2]), frame_index=7)


def selections(result):
    """Index and the objects it selects."""
    return [
        (0, [0]), (-1, [4]), (np.int64(2), [2]), (slice(1, 3), [1, 2]), (slice(None, None, -2), [4, 2, 0]),
        (slice(10, 20), []), ([3, 0], [3, 0]), ([], []), (np.array([1, -1]), [1, 4]), (np.array([], np.int64), []),
        (result.confidence > 0.5, [0, 1, 2]), (result.class_id == 2, [1, 4]), (result.confidence > 2, []),
        ([True, False, False, False, True], [0, 4]), ((1, 2), [1, 2]),
    ]  # fmt: skip


def test_objects_are_selected_as_supervisions_are():
    result = many()
    for index, expected in selections(result):
        chosen = result[index]
        assert isinstance(chosen, Detections) and len(chosen) == len(expected) and chosen.empty == (not expected)
        np.testing.assert_array_equal(chosen.xyxy, result.xyxy[expected])
        assert chosen.confidence.tolist() == result.confidence[expected].tolist()
        assert chosen.class_id.tolist() == result.class_id[expected].tolist()
        assert (chosen.frame_index, chosen.names, chosen.image_wh) == (7, NAMES, (100, 60))
        np.testing.assert_array_equal(chosen.to_supervision().xyxy, result.to_supervision()[list(expected)].xyxy)
    assert len(result[result.confidence > 0.5][result[:3].class_id == 1]) == 2


@pytest.mark.parametrize(
    "index",
    [5, -6, [0, 9], [True, False], np.ones(6, bool), True, "car", None, 0.5, [0.5], np.zeros((5, 5), int),
     [[0], [1, 2]], slice("a", None)],
)  # fmt: skip
def test_what_selects_nothing_is_refused(index):
    with pytest.raises(SelectionError):
        many()[index]
    with pytest.raises(IndexError):
        many()[index]


def test_objects_one_by_one():
    objects = list(many())
    assert len(objects) == 5 and all(isinstance(found, Detection) for found in objects)
    assert objects[1].xyxy.tolist() == [4, 5, 6, 7] and objects[1].name == "tree" and objects[1].class_id == 2
    assert [round(found.confidence, 3) for found in objects] == [0.9, 0.8, 0.6, 0.4, 0.3]
    assert list(detections(0)) == [] and detections(0).empty and not detections(1).empty


def test_detections_are_printed_in_a_line():
    assert str(detections(0)) == "Detections of a frame, 100x60, 0 objects, dense"
    told = str(detections(2, source="clip.mp4", frame_index=3, window_share=0.4))
    assert told == "Detections of frame 3 of clip.mp4, 100x60, 2 objects (1 car, 1 tree), 60% pruned"
    assert repr(detections(1)) == f"<{detections(1)}>" and "1 object (1 car)" in str(detections(1))


def test_detections_are_saved_as_arrays(tmp_path):
    result = many()
    result.save(tmp_path / "objects.npz")
    saved = np.load(tmp_path / "objects.npz")
    assert set(saved.files) == {"xyxy", "confidence", "class_id"}
    np.testing.assert_array_equal(saved["xyxy"], result.xyxy)


def test_coco_records_of_a_stream_are_numbered_by_frame():
    assert {record["image_id"] for record in many().to_coco()} == {7}
    assert many().to_coco("000042.jpg", {0: 5, 1: 6, 2: 7})[0] == {
        "image_id": "000042.jpg", "category_id": 6, "bbox": [0, 1, 2, 2], "score": pytest.approx(0.9),
    }  # fmt: skip


def test_numbers_of_tracked_objects_go_with_them(tmp_path):
    result = detections(track_ids=np.array([7, -1]))
    assert result[1:].track_ids.tolist() == [-1] and result[result.confidence > 0.6].track_ids.tolist() == [7]
    assert [found.track_id for found in result] == [7, None]
    assert [found.track_id for found in detections()] == [None, None]
    assert result.to_supervision().tracker_id.tolist() == [7, -1]
    assert detections().to_supervision().tracker_id is None
    first, second = result.to_coco(1)
    assert first["track_id"] == 7 and "track_id" not in second
    result.save(tmp_path / "objects.npz")
    assert np.load(tmp_path / "objects.npz")["track_ids"].tolist() == [7, -1]
    with pytest.raises(ValueError, match=r"track_ids must be \(2,\) int64, got \(3,\)"):
        detections(track_ids=np.zeros(3, np.int64))
