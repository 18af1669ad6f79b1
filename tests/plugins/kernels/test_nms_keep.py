"""The suppression, run thread by thread on the host, against NumPy; tests/gpu runs the same cases on a GPU."""

from __future__ import annotations

import ctypes
import secrets

import numpy as np
import pytest

from gpu_kernels import INVALID_VALUE
from host_kernels import HostBuffer, host_kernels
from nms_kernel import NMS_CASES, NmsCase, bind_nms, check_nms, intersections_over_unions, workspace_bytes


@pytest.fixture(scope="module")
def library():
    return ctypes.CDLL(str(host_kernels()))


def overlaps(library, boxes, thresholds):
    """(n, 2, 4) boxes, (n) thresholds -> (n) whether each pair's intersection over its union exceeds its threshold."""
    result = np.empty(len(boxes), np.uint8)
    arrays = (np.ascontiguousarray(boxes, np.float32), np.ascontiguousarray(thresholds, np.float32), result)
    library.overlapsOf(len(boxes), *(array.ctypes.data_as(ctypes.c_void_p) for array in arrays))
    return result.astype(bool)


def keep_of(library, boxes, scores, **changes):
    """keep (N) of one group, compared with NumPy on the way."""
    given = np.array(boxes, np.float32)[None], np.array(scores, np.float32)[None]
    return check_nms(library, HostBuffer, NmsCase(1, len(boxes), **changes), 0, given=given)[0].tolist()


@pytest.mark.parametrize("number", range(len(NMS_CASES)), ids=lambda n: f"{n}-{NMS_CASES[n].kind}")
def test_every_case(library, number):
    check_nms(library, HostBuffer, NMS_CASES[number], number)


def test_random_boxes_of_any_number(library):
    seed = secrets.randbits(32)
    random = np.random.default_rng(seed)
    for number in range(12):
        kind = str(random.choice(["crowded", "scattered", "tied", "broken"]))
        groups, count, limit = (int(random.integers(1, top)) for top in (6, 400, 300))
        case = NmsCase(groups, count, float(random.random()), float(random.random() / 2), limit, kind)
        check_nms(library, HostBuffer, case, seed + number)


def test_five_thousand_boxes(library):
    check_nms(library, HostBuffer, NmsCase(1, 5000, 0.5, 0.0, 300), 1)


def test_the_threshold_is_compared_as_numpy_does(library):
    """At the pair's own value nothing is suppressed, one step below it is: a fused product would round otherwise."""
    random = np.random.default_rng(3)
    corners = random.uniform(0, 50, (200_000, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + random.uniform(20, 90, corners.shape).astype(np.float32)], -1)
    exact = np.array([intersections_over_unions(a, b[None])[0] for a, b in boxes[:5000]])
    first, second = boxes[:, 0], boxes[:, 1]
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    intersection = sides.prod(-1)
    areas = [(box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) for box in (first, second)]
    iou = np.where((sides > 0).all(-1), intersection / (areas[0] + areas[1] - intersection), np.float32(0))
    np.testing.assert_array_equal(iou[:5000], exact)
    meets = iou > 0
    assert meets.mean() > 0.5
    assert not overlaps(library, boxes, iou).any()
    below = np.nextafter(iou, np.float32(-1), dtype=np.float32)
    np.testing.assert_array_equal(overlaps(library, boxes[meets], below[meets]), True)


@pytest.mark.parametrize(
    ("other", "iou"),
    [((0, 0, 10, 5), 0.5), ((0, 0, 10, 7), 0.7), ((5, 0, 15, 10), 1 / 3), ((0, 0, 10, 10), 1.0)],
    ids=lambda value: str(value),
)
def test_an_overlap_equal_to_the_threshold_does_not_suppress(library, other, iou):
    boxes, scores = [(0, 0, 10, 10), other], [0.9, 0.8]
    assert keep_of(library, boxes, scores, iou=iou) == [1, 1]
    assert keep_of(library, boxes, scores, iou=float(np.nextafter(np.float32(iou), np.float32(0)))) == [1, 0]


def test_of_equal_scores_the_lower_index_stays(library):
    boxes = [(0, 0, 10, 10)] * 1000
    assert np.flatnonzero(keep_of(library, boxes, [0.5] * 1000)).tolist() == [0]
    scores = [0.5] * 999 + [0.6]
    assert np.flatnonzero(keep_of(library, boxes, scores)).tolist() == [999]


def test_a_suppressed_box_suppresses_nothing(library):
    chain = [(0, 0, 10, 10), (4, 0, 14, 10), (8, 0, 18, 10)]
    assert keep_of(library, chain, [0.9, 0.8, 0.7], iou=0.3) == [1, 0, 1]


def test_only_scores_above_the_threshold_take_part(library):
    apart = [(20 * i, 0, 20 * i + 10, 10) for i in range(4)]
    assert keep_of(library, apart, [0.05, np.nextafter(np.float32(0.05), np.float32(1)), 0.0, np.nan]) == [0, 1, 0, 0]
    same = [(0, 0, 10, 10)] * 2
    assert keep_of(library, same, [0.04, 0.06]) == [0, 1], "what takes no part suppresses nothing"


def test_degenerate_boxes_suppress_nothing_and_are_not_suppressed(library):
    boxes = [(5, 5, 5, 9), (0, 0, 10, 10), (9, 9, 1, 1), (3, 4, 3, 4), (5, 5, 5, 9)]
    assert keep_of(library, boxes, [0.9, 0.8, 0.7, 0.6, 0.5], iou=0.0) == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("corner", range(4))
def test_boxes_that_are_no_number_take_no_part(library, corner):
    boxes = np.array([(0, 0, 10, 10), (0, 0, 10, 10)], np.float32)
    boxes[0, corner] = np.nan
    assert keep_of(library, boxes, [0.9, 0.8]) == [0, 1]


def test_the_best_of_a_group_fill_its_limit(library):
    apart = [(20 * i, 0, 20 * i + 10, 10) for i in range(200)]
    scores = np.random.default_rng(4).permutation(200) / 200 + 0.1
    keep = keep_of(library, apart, scores, limit=70)
    assert set(np.flatnonzero(keep)) == set(np.argsort(-scores)[:70])


def test_workspace(library):
    bind_nms(library)
    assert workspace_bytes(library, NmsCase(80, 1000)) == 80 * 1000 * 20 + 80 * 4
    assert workspace_bytes(library, NmsCase(0, 1000)) == workspace_bytes(library, NmsCase(-1, 10)) == 0
    assert workspace_bytes(library, NmsCase(1 << 29, 1 << 29)) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": -1},
        {"count": -1},
        {"count": 1 << 40},
        {"groups": 1 << 29, "count": 1 << 29},
        {"limit": -1},
        {"iou": -0.1},
        {"iou": np.nan},
        {"score_threshold": np.nan},
        {"workspace": 8},
    ],
    ids=str,
)
def test_refused(library, changes):
    address = HostBuffer(np.zeros(4096, np.uint8)).address
    call = NmsCase(2, 3).call(**dict.fromkeys(("boxes", "scores", "keep", "workspace"), address))
    for name, value in changes.items():
        setattr(call, name, address + value if name == "workspace" else value)
    assert bind_nms(library)(call) == INVALID_VALUE
