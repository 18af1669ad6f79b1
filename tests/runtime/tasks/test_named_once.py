import json

import numpy as np
import pytest

import tiny
from sparsevit_runtime.tasks.named_once import named_once

#: Overlaps with the first: 1, 0.8, 0.6, 0.
BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 6], [20, 20, 30, 30]], np.float32)


def kept(classes=(0, 0, 0, 0), wanted=(1, 1, 1, 1), most=0.5, boxes=BOXES):
    return named_once(boxes, np.array(classes), np.array(wanted, bool), most).astype(int).tolist()


def test_of_boxes_that_overlap_the_best_stays():
    assert kept() == [1, 0, 0, 1]
    assert kept(most=0.7) == [1, 0, 1, 1]  # the third overlaps the second by 0.75, but that is left out
    assert kept(most=0.8) == [1, 1, 1, 1]  # "more than"


def test_each_class_is_by_itself():
    assert kept(classes=(0, 1, 1, 0)) == [1, 1, 0, 1]


def test_what_is_not_wanted_leaves_out_nothing():
    assert kept(wanted=(0, 1, 1, 1)) == [0, 1, 0, 1]
    assert kept(wanted=(0, 0, 0, 0)) == [0, 0, 0, 0]


def test_no_boxes_and_boxes_without_area():
    assert kept(classes=(), wanted=(), boxes=np.zeros((0, 4), np.float32)) == []
    assert kept(boxes=np.zeros((4, 4), np.float32)) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("objects", "scores"),
    [
        ({}, [0.9, 0.8, 0.3]),
        ({"threshold": 0.1}, [0.9, 0.8, 0.3, 0.2]),
        ({"nms_iou": 0.5}, [0.9, 0.3]),
        ({"threshold": 0.5, "nms_iou": 0.9}, [0.9, 0.8]),
    ],
)
def test_a_detector_does_as_its_card_says_and_a_caller_may_say_otherwise(make_model, frame, objects, scores):
    card = {**tiny.card_document(task="detection"), "objects": objects}
    answers = {"boxes": BOXES[[0, 1, 3, 3]].tolist(), "scores": [0.9, 0.8, 0.3, 0.2], "classes": [1, 1, 1, 2]}
    model = make_model(task="detection", card=json.dumps(card), **answers)
    assert model(frame).confidence.tolist() == pytest.approx(scores)
    assert len(model(frame, threshold=0.85)) == 1
    results = list(model.stream([frame]))
    assert results[0].confidence.tolist() == pytest.approx(scores)
