"""How far two detectors, or two levels of one, find the same objects."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sparsevit_runtime import Detections

#: Overlap from which two boxes are of one object.
_SAME_IOU = 0.5


def box_agreement(ours: Iterable[Detections], theirs: Iterable[Detections]) -> float:
    """Objects that both found, twice, over the objects of each; 1 where neither found any.

    Args:
        ours, theirs: results of the same frames, in the same order, over the same classes; 0..1 either way round.
    """
    both = everything = 0
    for a, b in zip(ours, theirs, strict=True):
        both += 2 * int((matches(a, b) >= 0).sum())
        everything += len(a) + len(b)
    return both / everything if everything else 1.0


def matches(found: Detections, truth: Detections) -> np.ndarray:
    """Which object of `truth` each of `found` is: the one of its class that it overlaps most, at an IoU of 0.5 or more,
    and that no better one of `found` is.

    Returns:
        (N,) int64 into `truth`, -1 where it is none.
    """
    overlap = pairwise_iou(found.xyxy, truth.xyxy)
    overlap[found.class_id[:, None] != truth.class_id] = 0.0
    chosen = np.full(len(found), -1)
    for row in np.argsort(-found.confidence, kind="stable"):
        best = int(overlap[row].argmax()) if len(truth) else -1
        if best >= 0 and overlap[row, best] >= _SAME_IOU:
            chosen[row] = best
            overlap[:, best] = 0.0
    return chosen


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `a` (N, 4) with every one of `b` (M, 4), xyxy; (N, M)."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    inter = np.maximum(high - low, 0).prod(-1)
    areas = [(c[:, 2:] - c[:, :2]).prod(-1) for c in (a, b)]
    return np.asarray(inter / np.maximum(areas[0][:, None] + areas[1] - inter, 1e-9))
