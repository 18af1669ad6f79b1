"""Tensors against tensors: what agrees, what does not, and which is the worst."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsevit_runtime.agreement import (
    COMPARED,
    PARITY,
    RECORDED,
    compare_labels,
    compare_order,
    compare_real,
    compare_values,
    order_agreement,
    precision_of,
    windows_apart,
    worst_first,
)

FP32, FP16 = COMPARED["fp32"], COMPARED["fp16"]
RNG = np.random.default_rng(0)
MAP = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 9, (2, 50, 40)).astype(np.uint8)
ORDER = np.stack([RNG.permutation(200), RNG.permutation(200)])
KINDS = {"stage": compare_real, "label": compare_labels, "windo": compare_order, "shift": compare_order}


def put(array, *changes):
    """A copy with (index, value) pairs set."""
    array = array.copy()
    for index, value in changes:
        array[index] = value
    return array


def one_row(name, ours, theirs, limits=FP32):
    row = KINDS[name[:5]](name, ours, theirs, limits)
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


def test_values_are_compared_as_their_type_says():
    assert compare_values("maps", MAP, MAP, FP32).cosine == pytest.approx(1.0)
    assert compare_values("labels", LABELS, LABELS, FP32).agreement == 1.0


@pytest.mark.parametrize(
    ("precisions", "tf32", "expected"),
    [
        (["fp32"], False, "fp32"),
        (["fp32", "fp32"], False, "fp32"),
        (["fp32", "fp16"], False, "fp16"),
        (["fp16", "fp32"], False, "fp16"),
        (["fp32", "fp32"], True, "fp16"),  # ten bits of mantissa, as half precision
    ],
)
def test_the_least_exact_decides_whose_limits_apply(precisions, tf32, expected):
    assert precision_of(precisions, tf32=tf32) == expected


def test_half_precision_is_never_held_to_more_than_single():
    for table in (COMPARED, PARITY, RECORDED):
        exact, half = table["fp32"], table["fp16"]
        assert half.difference >= exact.difference and half.same >= exact.same
        for share in ("within", "cosine", "labels", "order", "detections"):
            assert getattr(half, share) <= getattr(exact, share), share


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


def test_nothing_hides_behind_what_comes_later():
    """A tensor that is not finite stays the worst, whatever is compared after it and in whichever order."""
    broken, wrong, near = np.full_like(MAP, np.nan), MAP + 1, MAP + 1e-5
    for order in ([broken, wrong, near], [near, wrong, broken], [wrong, broken, near]):
        rows = [
            compare_real(name, found, MAP, FP16).model_copy(update={"run": str(run)})
            for run, ours in enumerate(order)
            for name, found in (("stage0", ours), ("stage1", near))
        ]
        first, second = worst_first(rows)
        assert first.tensor == "stage0" and "384 of its 384 values are not finite" in first.problem
        assert first.run == str([ours is broken for ours in order].index(True))
        assert second.tensor == "stage1" and second.agrees


def test_the_limits_that_are_documented_are_those_in_force():
    page = (Path(__file__).parents[2] / "docs" / "measure.md").read_text()
    documented = {}
    for kind in ("difference", "cosine", "labels", "orders", "boxes"):
        (line,) = (row for row in page.splitlines() if row.startswith("|") and kind in " ".join(row.split("|")[1:3]))
        documented[kind] = [cell.split()[-1] for cell in line.strip("| ").split("|")[-2:]]
    for column, limits in enumerate((FP32, FP16)):
        for kind, limit in (("labels", limits.labels), ("orders", limits.order), ("boxes", limits.detections)):
            assert float(documented[kind][column].rstrip("%")) / 100 == pytest.approx(limit), kind
        assert float(documented["cosine"][column]) == limits.cosine
    assert float(documented["difference"][0]) == FP32.difference
    assert documented["difference"][1] == "shown" and not np.isfinite(FP16.difference)
