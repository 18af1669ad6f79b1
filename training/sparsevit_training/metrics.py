"""Mean intersection over union."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from .datasets.base import IGNORE


class ConfusionMatrix:
    """Counts of (true class, predicted class) pixels; void pixels are left out.

    Args:
        num_classes: K; predictions are 0..K-1.
        ignore: label of void pixels.
        scored: classes that figures are of; all when None. Where another one is predicted for them, they are missed.
    """

    def __init__(self, num_classes: int, ignore: int = IGNORE, scored: Collection[int] | None = None) -> None:
        self.counts = np.zeros((num_classes, num_classes), np.int64)  # [truth, prediction]
        self._ignore = ignore
        self._scored = sorted(range(num_classes) if scored is None else scored)

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Adds one label map.

        Args:
            truth, prediction: integer arrays of one shape.

        Raises:
            ValueError: shapes differ, or a class is out of range.
        """
        if truth.shape != prediction.shape:
            raise ValueError(f"the prediction is {prediction.shape}, the truth {truth.shape}")
        classes = len(self.counts)
        chosen = truth != self._ignore
        t, p = truth[chosen].astype(np.int64), prediction[chosen].astype(np.int64)
        if len(t) and (t.max() >= classes or p.max() >= classes or min(t.min(), p.min()) < 0):
            raise ValueError(f"classes up to {max(t.max(), p.max())} where {classes} classes were expected")
        self.counts += np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes)

    @property
    def iou(self) -> np.ndarray:
        """(K,) float64 intersection over union; NaN for a class not scored, or neither in the truth nor predicted."""
        hit = np.diag(self.counts).astype(np.float64)
        union = np.zeros(len(hit))
        union[self._scored] = (self.counts.sum(0) + self.counts.sum(1) - hit)[self._scored]
        return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that are scored and occur, 0..1; NaN when nothing was counted."""
        iou = self.iou
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels of scored classes that are right, 0..1; NaN when there are none."""
        total = self.counts[self._scored].sum()
        return float(np.diag(self.counts)[self._scored].sum() / total) if total else float("nan")
