"""Instances of two runs: what `test_detection_agreement` says of boxes, for lists that are not full, and masks."""

from __future__ import annotations

import numpy as np
import pytest

import tiny
from sparsevit_runtime.agreement import COMPARED, worst_first
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.tasks import task_of

FP32, FP16 = COMPARED["fp32"], COMPARED["fp16"]
TASK = task_of(ModelCard.model_validate(tiny.card_document("instances")))
ROOM = 8
BOXES = np.array([(10.0 * i, 5.0, 10.0 * i + 40, 300.0) for i in range(5)], np.float32)
SCORES = np.array([0.9, 0.8, 0.8, 0.6, 0.06], np.float32)
CLASSES = np.array([0, 1, 2, 0, 1])
MASKS = np.random.RandomState(0).random_sample((5, 28, 28)).astype(np.float32)


def answers(boxes=BOXES, scores=SCORES, classes=CLASSES, masks=MASKS, order=None):
    """A batch of one, filled up with rows of nothing."""
    order = range(len(scores)) if order is None else order
    given = {"boxes": boxes, "scores": scores, "classes": classes, "masks": masks}
    return {
        name: np.concatenate([value[list(order)], np.zeros((ROOM - len(order), *value.shape[1:]), value.dtype)])[None]
        for name, value in given.items()
    }


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("ours", "worst", "problem"),
    [
        (answers(), "boxes", None),
        # Two objects of one score change places, with their masks.
        (answers(order=[0, 2, 1, 3, 4]), "boxes", None),
        # Masks change places without their boxes.
        (answers(masks=MASKS[[0, 2, 1, 3, 4]]), "masks", "60.0% of it agrees"),
        (answers(masks=changed(MASKS, 3, MASKS[3] * 0.9)), "masks", "80.0% of it agrees"),
        (answers(masks=changed(MASKS, 3, MASKS[3] + 5e-4)), "masks", None),
        (answers(masks=changed(MASKS, (3, 2, 1), np.nan)), "masks", "1 of its 6272 values are not finite"),
        (answers(boxes=changed(BOXES, (3, 0), 35.0)), "boxes", "80.0% of it agrees"),
        (answers(classes=changed(CLASSES, 0, 5)), "classes", "80.0% of it agrees"),
        # One is missing, and rows that fill the list up do not make it a small share.
        (answers(order=[0, 1, 2, 4]), "boxes", "80.0% of it agrees"),
        (answers(order=[]), "boxes", "0.0% of it agrees"),
    ],
)
def test_instances(ours, worst, problem):
    rows = worst_first(TASK.agreement(ours, answers(), FP32))
    assert {row.tensor for row in rows} == {"boxes", "scores", "classes", "masks"}
    wrong = [row for row in rows if row.tensor == worst]
    assert all(row.agrees for row in rows) == (problem is None), rows
    assert problem is None or problem in wrong[0].problem, rows


def test_the_least_one_may_be_missing():
    """Its score is about the least that the graph takes for an object."""
    rows = TASK.agreement(answers(order=[0, 1, 2, 3]), answers(), FP32)
    assert all(row.agrees for row in rows if row.tensor != "scores")


def test_two_runs_that_find_nothing_agree():
    nothing = answers(order=[])
    assert all(row.agrees for row in TASK.agreement(nothing, nothing, FP32))


def test_masks_in_half_precision_are_compared_by_their_cosine():
    near = answers(masks=(MASKS + np.random.RandomState(1).normal(0, 0.004, MASKS.shape)).astype(np.float32))
    assert all(row.agrees for row in TASK.agreement(near, answers(), FP16))
    (masks,) = [row for row in TASK.agreement(near, answers(), FP32) if row.tensor == "masks"]
    assert not masks.agrees
