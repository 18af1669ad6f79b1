"""Non-maximum suppression of a detector's answers, where its card asks for it."""

from __future__ import annotations

import numpy as np


def named_once(boxes: np.ndarray, classes: np.ndarray, wanted: np.ndarray, most_iou: float) -> np.ndarray:
    """Greedy non-maximum suppression, each class by itself.

    Args:
        boxes: (N, 4) xyxy, best first, as a detector's graph returns them.
        classes: (N,) integers.
        wanted: (N,) bool; the others take no part.
        most_iou: a box that overlaps a better one of its class by more than this is left out.

    Returns:
        (N,) bool, those that stay.
    """
    kept = np.zeros(len(boxes), bool)
    left = np.flatnonzero(wanted)
    corners = boxes[left].astype(np.float64)
    kinds = classes[left]
    area = np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0.0), axis=1)
    while len(left):
        kept[left[0]] = True
        low, high = np.maximum(corners[:, :2], corners[0, :2]), np.minimum(corners[:, 2:], corners[0, 2:])
        inter = np.prod(np.maximum(high - low, 0.0), axis=1)
        doubles = (kinds == kinds[0]) & (inter > most_iou * np.maximum(area + area[0] - inter, 1e-9))
        doubles[0] = True
        left, corners, kinds, area = (part[~doubles] for part in (left, corners, kinds, area))
    return kept
