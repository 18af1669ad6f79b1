"""Figures of a toy on a clip whose objects are known."""

import cv2
import numpy as np
import pytest

import tiny
from sparsevit_runtime import Detections, load
from watched_objects import WATCHED, Tally, frames_of, still_pixels, watch


class Knows:
    """A detector that knows where two cars are; one of them scores too little to be asked for."""

    def __call__(self, frame, threshold):
        return Detections(
            xyxy=np.array([(16, 8, 48, 24), (60, 30, 80, 50)], np.float32),
            confidence=np.array([0.9, 0.8], np.float32),
            class_id=np.array([1, 1]),
            names=("dog", "car"),
            image_wh=frame.shape[1::-1],
        )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "frames").mkdir()
    for number in range(3):
        frame = np.zeros((64, 96, 3), np.uint8)
        frame[:32] = 200  # windows at the top score best
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), frame)
    return tmp_path / "frames"


def test_a_detector_that_finds_one_of_two(folder, tmp_path, monkeypatch):
    names = ("car", *tiny.CLASSES[1:])
    monkeypatch.setattr(tiny, "CLASSES", names)
    boxes = [(8.0, 4.0, 24.0, 12.0), (0.0, 20.0, 8.0, 28.0)]
    answers = {"boxes": boxes, "scores": [0.9, 0.3], "classes": [0, 0]}
    path = tiny.write_model(tmp_path / "m.onnx", task="detection", **answers)
    with load(path, threads=1) as model:
        rows = watch(model, Knows(), [folder], (0.0, 0.5), 3)
    assert [(row["clip"], row["sparsity"]) for row in rows] == [
        ("frames", 0.0),
        ("frames", 0.5),
        ("all", 0.0),
        ("all", 0.5),
    ]
    for row in rows:
        assert row["recall"] == 0.5 == row["precision"] and row["objects"] == 6 and row["agreement"] == 1.0
        assert list(row["ap50_per_class"]) == ["car"] and row["ap50"] == pytest.approx(0.505, abs=0.01)
    assert all(part == {"stage": i, "objects": 1.0, "frame": 1.0} for i, part in enumerate(rows[0]["computed"]))
    first = rows[1]["computed"][0]
    assert first["frame"] == pytest.approx(0.5, abs=0.05)
    # Of the cars' area, 512 + 400 pixels, the upper one is computed and two rows of the lower.
    assert first["objects"] == pytest.approx((512 + 40) / 912, abs=0.15)


def test_labels_that_change_where_the_picture_does_not():
    tally = Tally()
    before, after = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    after[0] = 1
    still = np.ones((4, 4), bool)
    still[:, 0] = False
    tally.add_change(before, after, still)
    tally.add_labels(after, before)
    assert tally.row() == {"label_agreement": 0.75, "flicker": 0.25, "computed": []}


def test_still_pixels_are_those_that_look_alike():
    before = np.full((20, 20, 3), 90, np.uint8)
    after = before.copy()
    after[:, 10:] += 40
    still = still_pixels(before, after)
    assert still[:, :7].all() and not still[:, 13:].any()


def test_frames_of_a_clip_come_in_pairs(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "c.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 32))
    for number in range(20):
        writer.write(np.full((32, 32, 3), 12 * number, np.uint8))
    writer.release()
    pairs = list(frames_of(tmp_path / "c.avi", 4))
    assert [round(float(a.mean()) / 12) for a, _ in pairs] == [0, 5, 10, 15]
    assert all(round(float(b.mean() - a.mean()) / 12) == 1 for a, b in pairs)
    assert WATCHED == ("person", "car")
