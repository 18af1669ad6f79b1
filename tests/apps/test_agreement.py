"""Tensors against tensors: what agrees, what does not, and which is the worst."""

from __future__ import annotations

import numpy as np
import pytest

from sparsevit_apps.agreement import LIMITS, compare_tensors, order_agreement, windows_apart, worst_first

FP32, FP16 = LIMITS["fp32"], LIMITS["fp16"]
RNG = np.random.default_rng(0)
MAP = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 9, (2, 50, 40)).astype(np.uint8)
ORDER = np.stack([RNG.permutation(200), RNG.permutation(200)])


def put(array, *changes):
    """A copy with (index, value) pairs set."""
    array = array.copy()
    for index, value in changes:
        array[index] = value
    return array


def one_row(name, ours, theirs, limits=FP32):
    (row,) = compare_tensors({name: ours}, {name: theirs}, limits)
    assert row.agrees == (row.problem is None)
    return row


def swapped(order, first):
    order = order.copy()
    order[:, [first, first + 1]] = order[:, [first + 1, first]]
    return order


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "limits", "problem"),
    [
        ("stage0", MAP[:0], MAP[:0], FP32, None),
        ("stage0", MAP, MAP, FP32, None),
        ("stage0", np.zeros_like(MAP), np.zeros_like(MAP), FP32, None),
        ("stage0", MAP + 9e-4 * np.abs(MAP).max(), MAP, FP32, None),
        ("stage0", MAP + 1.1e-3 * np.abs(MAP).max(), MAP, FP32, "differs by 0.0011 of its scale, 0.001 is accepted"),
        ("stage0", put(MAP, ((1, 2, 7, 7), 9.0)), MAP, FP32, "of its scale"),
        ("stage0", MAP * 1e3, MAP * 1e3 + 0.1, FP32, None),  # the scale is the tensor's own
        ("stage0", MAP, np.zeros_like(MAP), FP32, "of its scale"),
        ("stage0", MAP + 1.1e-3 * np.abs(MAP).max(), MAP, FP16, None),
        ("stage0", put(MAP, (1, -MAP[1])), MAP, FP16, "its cosine is -1.000000"),  # of the worse image
        ("stage0", np.zeros_like(MAP), MAP, FP16, "its cosine is 0.000000"),
        ("stage0", put(MAP, ((0, 0, 0, 0), np.nan)), MAP, FP32, "1 of its 384 values are not finite"),
        ("stage0", put(MAP, ((0, 0, 0, 0), np.nan)), MAP, FP16, "1 of its 384 values are not finite"),
        ("stage0", put(MAP, ((1, 0), np.inf)), MAP, FP16, "64 of its 384 values are not finite"),
        ("stage0", MAP, put(MAP, ((0, 0, 0, 0), np.nan)), FP32, "1 of the other's 384 values are not finite"),
        ("stage0", put(MAP, (0, np.nan)), put(MAP, (0, np.nan)), FP32, "192 of its 384 values are not finite"),
        ("stage0", MAP[:, :2], MAP, FP32, "its shape is (2, 2, 8, 8), the other's is (2, 3, 8, 8)"),
        ("labels", LABELS, LABELS, FP32, None),
        ("labels", put(LABELS, ((0, 0, slice(2)), 77)), LABELS, FP32, None),
        ("labels", put(LABELS, ((0, 0, slice(3)), 77)), LABELS, FP32, "99.9% of it agrees"),  # 0.15% of one image
        ("labels", put(LABELS, ((0, 0, slice(3)), 77)), LABELS, FP16, None),
        ("windows0", ORDER, ORDER, FP32, None),
        ("windows0", swapped(ORDER, 0), ORDER, FP32, None),
        ("shifted_windows1", ORDER[:, ::-1], ORDER, FP16, "of it agrees, 95.0% must"),
        ("windows0", put(ORDER, ((1, 199), ORDER[1, 0])), ORDER, FP32, "0.0% of it agrees"),  # one twice
        ("windows0", put(ORDER, ((1, 199), 200)), ORDER, FP32, "0.0% of it agrees"),  # one that does not exist
        ("windows3", np.array([[1, 0]]), np.array([[0, 1]]), FP32, None),
        ("windows3", np.array([[0, 2]]), np.array([[0, 1]]), FP32, "0.0% of it agrees"),
        ("windows3", np.array([[1]]), np.array([[0]]), FP32, "0.0% of it agrees"),
        ("windows3", np.zeros((1, 0), int), np.zeros((1, 0), int), FP32, None),
    ],
)
def test_one_tensor(name, ours, theirs, limits, problem):
    row = one_row(name, ours, theirs, limits)
    if problem is None:
        assert row.agrees and row.of_limit <= 1, row
    else:
        assert problem in row.problem
        assert row.of_limit is None or row.of_limit > 1


@pytest.mark.parametrize(
    ("ours", "theirs", "agreement"),
    [
        ([], [], 1.0),
        ([3, 1, 0, 2], [3, 1, 0, 2], 1.0),
        ([1, 3, 0, 2], [3, 1, 0, 2], 3 / 4),  # none of one, two of two, ...
        ([2, 0, 1, 3], [3, 1, 0, 2], (0 + 0 + 2 / 3 + 1) / 4),
        ([7, 9], [9, 8], (0 + 1 / 2) / 2),  # a part of the windows
    ],
)
def test_order_agreement(ours, theirs, agreement):
    assert order_agreement(np.array(ours, int), np.array(theirs, int)) == pytest.approx(agreement)


@pytest.mark.parametrize(
    ("ours", "kept", "apart"),
    [
        ([[0, 1, 2, 3]], [], 0.0),
        ([[0, 1, 2, 3]], [1, 2], 0.0),
        ([[1, 0, 2, 3]], [2, 4], 0.0),  # in another order, but the same ones
        ([[1, 0, 2, 3]], [2, 1], 1.0),
        ([[0, 2, 1, 3]], [2], 0.5),
        ([[0, 1, 2, 3], [0, 2, 1, 3]], [2], 0.5),  # of the worse image
    ],
)
def test_windows_that_only_one_side_computes(ours, kept, apart):
    theirs = np.array([[0, 1, 2, 3]] * len(ours))
    assert windows_apart({"windows0": np.array(ours)}, {"windows0": theirs}, {"windows0": kept}) == apart


def detections(boxes, scores, classes):
    return {
        "boxes": np.array([boxes], np.float32),
        "scores": np.array([scores], np.float32),
        "classes": np.array([classes], np.int64),
    }


BOXES = [(float(10 * i), 5.0, 10.0 * i + 40, 300.0) for i in range(6)]
SCORES = [0.9, 0.8, 0.8, 0.6, 0.3, 0.2]
CLASSES = [0, 1, 2, 0, 1, 2]
FOUND = detections(BOXES, SCORES, CLASSES)
ORDERED = [0, 2, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("ours", "worst", "problem"),
    [
        (FOUND, "boxes", None),
        # Two boxes of one score change places.
        (detections([BOXES[i] for i in ORDERED], SCORES, [CLASSES[i] for i in ORDERED]), "boxes", None),
        # The last of the list is another of about its score.
        (detections([*BOXES[:5], (1, 1, 2, 2)], SCORES, CLASSES), "boxes", None),
        # So near that it is the same box.
        (detections([(0.2, 5.0, 40.0, 300.0), *BOXES[1:]], SCORES, CLASSES), "boxes", None),
        (detections([(0.9, 5.0, 40.0, 300.0), *BOXES[1:]], SCORES, CLASSES), "boxes", "83.3% of it agrees"),
        # Boxes of other scores change places.
        (detections([BOXES[3], *BOXES[1:3], BOXES[0], *BOXES[4:]], SCORES, CLASSES), "boxes", "66.7% of it agrees"),
        # One box many times: each of ours is among theirs, not each of theirs among ours.
        (detections([BOXES[1]] * 6, [0.8] * 6, [1] * 6), "scores", "of its scale"),
        (detections([BOXES[0], BOXES[1], BOXES[1], *BOXES[3:]], SCORES, CLASSES), "boxes", "83.3% of it agrees"),
        (detections(BOXES, SCORES, [1, *CLASSES[1:]]), "classes", "of it agrees"),
        (detections(BOXES, [0.7, *SCORES[1:]], CLASSES), "scores", "of its scale"),
        (detections(BOXES, [np.nan, *SCORES[1:]], CLASSES), "scores", "1 of its 6 values are not finite"),
        (detections([(np.nan, 5, 40, 300), *BOXES[1:]], SCORES, CLASSES), "boxes", "1 of its 24 values are not finite"),
        (detections(BOXES[:5], SCORES[:5], CLASSES[:5]), "boxes", "its shape is (1, 5, 4)"),
    ],
)
def test_detections(ours, worst, problem):
    rows = worst_first(compare_tensors(ours, FOUND, FP32))
    assert all(row.agrees for row in rows) == (problem is None), rows
    assert problem is None or (rows[0].tensor == worst and problem in rows[0].problem), rows[0]


def test_detections_that_all_tie_are_compared_all_the_same():
    ties = detections(BOXES, [0.5] * 6, CLASSES)
    assert all(row.agrees for row in compare_tensors(ties, ties, FP32))
    moved = detections([(200, 1, 210, 9)] * 6, [0.5] * 6, CLASSES)
    assert not compare_tensors(moved, ties, FP32)[0].agrees


def test_nothing_hides_behind_what_comes_later():
    """A tensor that is not finite stays the worst, whatever is compared after it and in whichever order."""
    broken, wrong, near = np.full_like(MAP, np.nan), MAP + 1, MAP + 1e-5
    for order in ([broken, wrong, near], [near, wrong, broken], [wrong, broken, near]):
        rows = [
            row
            for run, ours in enumerate(order)
            for row in compare_tensors({"stage0": ours, "stage1": near}, {"stage0": MAP, "stage1": MAP}, FP16, str(run))
        ]
        first, second = worst_first(rows)
        assert first.tensor == "stage0" and "384 of its 384 values are not finite" in first.problem
        assert first.run == str([ours is broken for ours in order].index(True))
        assert second.tensor == "stage1" and second.agrees
