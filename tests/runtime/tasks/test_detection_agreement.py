"""Detections of two runs: boxes of nearly equal score may change places, and those at the end may fall off the list."""

from __future__ import annotations

import numpy as np
import pytest

import tiny
from sparsevit_runtime.agreement import COMPARED, worst_first
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.tasks import task_of

FP32 = COMPARED["fp32"]
TASK = task_of(ModelCard.model_validate(tiny.card_document("detection")))


def answers(boxes, scores, classes):
    return {
        "boxes": np.array([boxes], np.float32),
        "scores": np.array([scores], np.float32),
        "classes": np.array([classes], np.int64),
    }


BOXES = [(float(10 * i), 5.0, 10.0 * i + 40, 300.0) for i in range(6)]
SCORES = [0.9, 0.8, 0.8, 0.6, 0.3, 0.2]
CLASSES = [0, 1, 2, 0, 1, 2]
FOUND = answers(BOXES, SCORES, CLASSES)
ORDERED = [0, 2, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("ours", "worst", "problem"),
    [
        (FOUND, "boxes", None),
        # Two boxes of one score change places.
        (answers([BOXES[i] for i in ORDERED], SCORES, [CLASSES[i] for i in ORDERED]), "boxes", None),
        # The last of the list is another of about its score.
        (answers([*BOXES[:5], (1, 1, 2, 2)], SCORES, CLASSES), "boxes", None),
        # So near that it is the same box.
        (answers([(0.2, 5.0, 40.0, 300.0), *BOXES[1:]], SCORES, CLASSES), "boxes", None),
        (answers([(0.9, 5.0, 40.0, 300.0), *BOXES[1:]], SCORES, CLASSES), "boxes", "83.3% of it agrees"),
        # Boxes of other scores change places.
        (answers([BOXES[3], *BOXES[1:3], BOXES[0], *BOXES[4:]], SCORES, CLASSES), "boxes", "66.7% of it agrees"),
        # One box many times: each of ours is among theirs, not each of theirs among ours.
        (answers([BOXES[1]] * 6, [0.8] * 6, [1] * 6), "scores", "of its scale"),
        (answers([BOXES[0], BOXES[1], BOXES[1], *BOXES[3:]], SCORES, CLASSES), "boxes", "83.3% of it agrees"),
        (answers(BOXES, SCORES, [1, *CLASSES[1:]]), "classes", "of it agrees"),
        (answers(BOXES, [0.7, *SCORES[1:]], CLASSES), "scores", "of its scale"),
        (answers(BOXES, [np.nan, *SCORES[1:]], CLASSES), "scores", "1 of its 6 values are not finite"),
        (answers([(np.nan, 5, 40, 300), *BOXES[1:]], SCORES, CLASSES), "boxes", "1 of its 24 values are not finite"),
        (answers(BOXES[:5], SCORES[:5], CLASSES[:5]), "boxes", "its shape is (1, 5, 4)"),
    ],
)
def test_detections(ours, worst, problem):
    rows = worst_first(TASK.agreement(ours, FOUND, FP32))
    assert all(row.agrees for row in rows) == (problem is None), rows
    assert problem is None or (rows[0].tensor == worst and problem in rows[0].problem), rows[0]


def test_detections_that_all_tie_are_compared_all_the_same():
    ties = answers(BOXES, [0.5] * 6, CLASSES)
    assert all(row.agrees for row in TASK.agreement(ties, ties, FP32))
    moved = answers([(200, 1, 210, 9)] * 6, [0.5] * 6, CLASSES)
    assert not TASK.agreement(moved, ties, FP32)[0].agrees


def test_an_answer_alone_is_compared_by_its_values():
    """Without scores nothing tells which boxes may change places."""
    boxes = {"boxes": FOUND["boxes"]}
    (row,) = TASK.agreement(boxes, boxes, FP32)
    assert row.tensor == "boxes" and row.agrees and row.difference == 0.0
    (row,) = TASK.agreement({"boxes": FOUND["boxes"][:, ORDERED]}, boxes, FP32)
    assert not row.agrees
