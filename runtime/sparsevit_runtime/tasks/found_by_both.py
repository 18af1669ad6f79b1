"""Objects of two runs: which of them are the same, and what share of either run's the other has, too.

Objects of nearly equal score may change places, and those of the lowest score may fall off the list, so an object is
looked for among the other side's of its score, and may be missing where its score is about the last one's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..agreement import Limits, TensorAgreement, compare_share, cosine_of, incomparable

#: Names of the graph's answers that say which objects there are.
OBJECTS = ("boxes", "scores", "classes")


def compare_objects(
    tensor: str,
    ours: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
    limits: Limits,
    *,
    filled: bool = False,
) -> TensorAgreement:
    """Boxes, or their classes, by the least share, of any image and either side, that the other side has too.

    Args:
        tensor: ``boxes`` or ``classes``.
        ours, theirs: arrays by name: ``boxes`` (B, N, 4), ``scores`` (B, N) and ``classes`` (B, N).
        limits: limits of what is accepted.
        filled: rows of score 0 are no objects, they fill a list up.
    """
    if (row := incomparable(tensor, ours[tensor], theirs[tensor])) is not None:
        return row
    share = 0.0
    if _same_shapes(ours, theirs):
        images = _images(ours, theirs, limits.same, filled=filled)
        share = min((s for image in images for s in image.shares(of_classes=tensor == "classes")), default=1.0)
    return compare_share(tensor, theirs[tensor].size, share, limits.detections)


def compare_masks(
    tensor: str, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], limits: Limits
) -> TensorAgreement:
    """Masks of the objects that both have, by the least share, of any image, that agrees: by largest difference and
    cosine, as real numbers do.

    Args:
        tensor: name of the masks, (B, N, h, w) probabilities.
        ours, theirs: arrays by name, as for `compare_objects`, and the masks. Rows of score 0 are no objects.
        limits: limits of what is accepted.
    """
    if (row := incomparable(tensor, ours[tensor], theirs[tensor])) is not None:
        return row
    share = 0.0
    if _same_shapes(ours, theirs):
        shares = [1.0]
        for image in _images(ours, theirs, limits.same, filled=True):
            pairs = [(ours[tensor][image.number][i], theirs[tensor][image.number][j]) for i, j in image.pairs()]
            if pairs:
                shares.append(float(np.mean([_agree(a, b, limits) for a, b in pairs])))
        share = min(shares)
    return compare_share(tensor, theirs[tensor].size, share, limits.detections)


def _same_shapes(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> bool:
    return all(ours[key].shape == theirs[key].shape for key in OBJECTS)


def _agree(ours: np.ndarray, theirs: np.ndarray, limits: Limits) -> bool:
    a, b = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    return float(np.abs(a - b).max(initial=0.0)) <= limits.difference and cosine_of(a, b) >= limits.cosine


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """The objects that two runs found in one image.

    Attributes:
        number: position in the batch.
        rows, their_rows: (N,) and (M,) rows of the answers that are objects.
        scores, their_scores: (N,) and (M,) float64.
        found: (N, M) bool, ours by theirs: the same box of the same score.
        named: (N, M) bool: and the same class.
        distance: (N, M) float64 between boxes.
        last: score up to which an object may have fallen off either list.
    """

    number: int
    rows: np.ndarray
    their_rows: np.ndarray
    scores: np.ndarray
    their_scores: np.ndarray
    found: np.ndarray
    named: np.ndarray
    distance: np.ndarray
    last: float

    def shares(self, *, of_classes: bool) -> Iterator[float]:
        """The share of either side's objects that the other has, too; of those, with `of_classes`, the share that has
        the same class."""
        for axis, own in ((1, self.scores), (0, self.their_scores)):
            if not own.size:
                continue
            of_both, same_class = (np.asarray(which.any(axis)) for which in (self.found, self.named))  # (N,) or (M,)
            counted = of_both if of_classes else of_both | (own > self.last)
            if not counted.any():
                counted = np.ones_like(counted)
            yield float((same_class if of_classes else of_both)[counted].mean())

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Rows of ours and of theirs that are the same object: to each of theirs the nearest of ours."""
        for j in np.flatnonzero(self.named.any(axis=0)):
            near = np.where(self.named[:, j], self.distance[:, j], np.inf)
            yield int(self.rows[near.argmin()]), int(self.their_rows[j])


def _images(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], same: float, *, filled: bool
) -> Iterator[_Image]:
    score_step, box_step = (same * float(np.abs(theirs[key]).max(initial=0.0)) for key in ("scores", "boxes"))
    least = _least_score(ours, theirs)
    for number in range(len(theirs["scores"])):
        rows, their_rows = (_objects(side["scores"][number], filled) for side in (ours, theirs))
        (boxes, scores, classes), (their_boxes, their_scores, their_classes) = (
            [side[key][number][chosen].astype(np.float64) for key in OBJECTS]
            for side, chosen in ((ours, rows), (theirs, their_rows))
        )
        distance = np.abs(boxes[:, None] - their_boxes[None]).max(-1, initial=0.0)  # (N, M)
        found = (np.abs(scores[:, None] - their_scores[None]) <= score_step) & (distance <= box_step)  # False for NaN
        named = found & (classes[:, None] == their_classes[None])
        # A list that is full ends with what had no room, another with what the graph still takes for an object.
        room = theirs["scores"].shape[1]
        ends = [float(own.min()) if 0 < len(own) == room else least for own in (scores, their_scores)]
        last = max(ends) + score_step
        yield _Image(number, rows, their_rows, scores, their_scores, found, named, distance, last)


def _objects(scores: np.ndarray, filled: bool) -> np.ndarray:
    return np.flatnonzero(scores > 0) if filled else np.arange(len(scores))


def _least_score(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """The least score above 0 of either run."""
    scores = np.concatenate([side["scores"].ravel() for side in (ours, theirs)]).astype(np.float64)
    return float(scores[scores > 0].min(initial=np.inf)) if (scores > 0).any() else 0.0
