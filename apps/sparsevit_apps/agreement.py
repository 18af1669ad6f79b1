"""Do two runs of one network agree? Whole tensors, each measured by what it stands for.

Real numbers are compared by their largest difference and their cosine, labels by the share that is equal, window orders
by the windows that both have among their first, detections by boxes of the same score. A value that is not finite
agrees with nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

_DETECTIONS = ("boxes", "scores", "classes")


@dataclass(frozen=True)
class Limits:
    """By how much two runs may differ.

    Attributes:
        difference: of real numbers, the largest, over the tensor's largest magnitude; None where the cosine decides.
        cosine: the least, of any image.
        labels: least share that is equal, of any image.
        order: least agreement of two orders of windows, see `order_agreement`.
        detections: least share that both have, of any image.
        same: scores and corners within this share of their tensor's largest magnitude are those of one detection.
    """

    difference: float | None
    cosine: float
    labels: float
    order: float
    detections: float
    same: float


#: By precision. A whole network in half precision differs from float32 by about 2e-3 of a tensor's scale, and by a few
#: neighbours in the order of its windows.
LIMITS: dict[Literal["fp32", "fp16"], Limits] = {
    "fp32": Limits(difference=1e-3, cosine=0.999, labels=0.999, order=0.99, detections=0.99, same=1e-3),
    "fp16": Limits(difference=None, cosine=0.999, labels=0.99, order=0.95, detections=0.98, same=1e-2),
}


class TensorAgreement(BaseModel):
    """One output of two runs.

    Attributes:
        tensor: its name.
        run: in which run.
        values: compared.
        difference: largest, over the tensor's largest magnitude; None for whole numbers, detections, and where it
            cannot be told.
        cosine: least of any image; None likewise.
        agreement: least share of any image that agrees; None for real numbers.
        required: what is accepted, in words.
        of_limit: how much of what is accepted the tensor takes: 1 is the limit. None where it cannot be compared.
        problem: what is wrong; None when it agrees.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tensor: str
    run: str
    values: int
    difference: float | None = None
    cosine: float | None = None
    agreement: float | None = None
    required: str
    of_limit: float | None
    problem: str | None

    @property
    def agrees(self) -> bool:
        return self.problem is None


def compare_tensors(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], limits: Limits, run: str = ""
) -> list[TensorAgreement]:
    """Compares every tensor of `theirs` with ours of the same name.

    Args:
        ours: by name, (B, ...) each: what is checked.
        theirs: what it should be.
        limits: what is accepted.
        run: for the rows.
    """
    detector = all(name in theirs for name in _DETECTIONS)
    rows = []
    for name, wanted in theirs.items():
        found = ours[name]
        about = {"tensor": name, "run": run, "values": wanted.size}
        problem = _incomparable(found, wanted)
        if problem is not None:
            rows.append(TensorAgreement(**about, required="comparable", of_limit=None, problem=problem))
        elif detector and name in ("boxes", "classes"):
            share = _detections_agreement(ours, theirs, limits.same, name)
            rows.append(_share_row(about, share, limits.detections))
        elif wanted.dtype.kind == "f":
            rows.append(_real_row(about, found, wanted, limits))
        elif name.startswith(("windows", "shifted_windows")):
            # Two neighbours of equal score may always change places, however few windows there are.
            swap = 1 / wanted.shape[1] if wanted.shape[1] > 1 else 0.0
            rows.append(_share_row(about, _least(order_agreement, found, wanted), min(limits.order, 1 - swap)))
        else:
            rows.append(_share_row(about, _least(lambda a, b: float((a == b).mean()), found, wanted), limits.labels))
    return rows


def worst_first(rows: Iterable[TensorAgreement]) -> tuple[TensorAgreement, ...]:
    """One row per tensor, that of its worst run; the worst tensor first, equals in the order they came."""

    def badness(row: TensorAgreement) -> tuple[bool, float]:
        return not row.agrees, np.inf if row.of_limit is None else row.of_limit

    worst: dict[str, TensorAgreement] = {}
    for row in rows:
        if row.tensor not in worst or badness(row) > badness(worst[row.tensor]):
            worst[row.tensor] = row
    return tuple(sorted(worst.values(), key=badness, reverse=True))


def order_agreement(ours: np.ndarray, theirs: np.ndarray) -> float:
    """How alike two orders of windows are: the share of windows that both have among their first k, mean over all k.

    What is computed is a prefix of the order, so this is the share of windows that both would compute. 1 for the same
    order, about 0.5 for a random one, 0 for what is no order ("average overlap"; Webber, Moffat, Zobel 2010, "A
    similarity measure for indefinite rankings", section 3).

    Args:
        ours, theirs: (n,) whole numbers each.
    """
    if theirs.size == 0:
        return 1.0
    complete = np.array_equal(np.sort(theirs), np.arange(theirs.size))
    if np.unique(ours).size != ours.size or (complete and not np.array_equal(np.sort(ours), np.arange(ours.size))):
        return 0.0
    _, mine, other = np.intersect1d(ours, theirs, return_indices=True)
    shared = np.bincount(np.maximum(mine, other), minlength=theirs.size).cumsum()  # (n,) among the first k
    return float((shared / np.arange(1, theirs.size + 1)).mean())


def windows_apart(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], kept: Mapping[str, Iterable[int]]
) -> float:
    """Largest share of the windows computed, of any image and block, that only one of two runs computed.

    Args:
        ours, theirs: window orders by name, (B, n) each.
        kept: by name, how many of the first are computed, one number per block.
    """
    apart = 0.0
    for name, counts in kept.items():
        for count in counts:
            for a, b in zip(ours[name], theirs[name]):
                apart = max(apart, 1 - np.intersect1d(a[:count], b[:count]).size / count)
    return apart


def _incomparable(ours: np.ndarray, theirs: np.ndarray) -> str | None:
    if ours.shape != theirs.shape:
        return f"its shape is {ours.shape}, the other's is {theirs.shape}"
    for whose, array in (("its", ours), ("the other's", theirs)):
        wrong = count_not_finite(array)
        if wrong:
            return f"{wrong} of {whose} {array.size} values are not finite"
    return None


def count_not_finite(array: np.ndarray) -> int:
    """How many values are NaN or infinite."""
    return int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0


def _least(measure: Callable[[np.ndarray, np.ndarray], float], ours: np.ndarray, theirs: np.ndarray) -> float:
    """The least of any image; 1 where there is nothing."""
    return min((measure(a, b) for a, b in zip(ours, theirs) if b.size), default=1.0)


def _real_row(about: dict, ours: np.ndarray, theirs: np.ndarray, limits: Limits) -> TensorAgreement:
    difference, cosine = 0.0, 1.0
    scale = float(np.abs(theirs).max(initial=0.0)) or 1.0
    for a, b in zip(ours, theirs):  # a whole batch of feature maps in float64 would take several times their memory
        a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        difference = max(difference, float(np.abs(a - b).max(initial=0.0)) / scale)
        cosine = min(cosine, _cosine(a, b))
    problem, required = None, f"cosine >= {limits.cosine:g}"
    if cosine < limits.cosine:
        problem = f"its cosine is {cosine:.6f}, at least {limits.cosine:g} is accepted"
    of_limit = (1 - cosine) / (1 - limits.cosine)
    if limits.difference is not None:
        required = f"difference <= {limits.difference:g}"
        of_limit = max(of_limit, difference / limits.difference)
        if difference > limits.difference:
            problem = f"it differs by {difference:.3g} of its scale, {limits.difference:g} is accepted"
    return TensorAgreement(
        **about, difference=difference, cosine=cosine, required=required, of_limit=of_limit, problem=problem
    )


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two vectors; 1 when both are nothing."""
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(lengths) == 0.0:
        return float(max(lengths) == 0.0)
    return min(1.0, float((a / lengths[0]) @ (b / lengths[1])))


def _share_row(about: dict, agreement: float, required: float) -> TensorAgreement:
    agreement, required = round(agreement, 9), round(required, 9)  # of sums that differ in their last bits
    wrong = 1 - agreement
    return TensorAgreement(
        **about,
        agreement=agreement,
        required=f"{required:.1%} agree",
        of_limit=wrong / (1 - required) if required < 1 else wrong,
        problem=None if agreement >= required else f"{agreement:.1%} of it agrees, {required:.1%} must",
    )


def _detections_agreement(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], same: float, name: str
) -> float:
    """Least share, of any image and either side, of the boxes that the other side has too, or of their classes.

    Boxes of nearly equal score may change places, and those of the lowest score may fall off the list, so a box is
    looked for among the other side's boxes of its score, and may be missing where its score is about the last one's.
    """
    if any(ours[key].shape != theirs[key].shape for key in _DETECTIONS):
        return 0.0
    score_step, box_step = (same * float(np.abs(theirs[key]).max(initial=0.0)) for key in ("scores", "boxes"))
    shares = []
    for image in range(len(theirs["scores"])):
        (boxes, scores, classes), (their_boxes, their_scores, their_classes) = (
            [side[key][image].astype(np.float64) for key in _DETECTIONS] for side in (ours, theirs)
        )
        if not scores.size:
            continue
        found = np.abs(scores[:, None] - their_scores[None]) <= score_step  # (N, N), ours by theirs; False for NaN
        found &= np.abs(boxes[:, None] - their_boxes[None]).max(-1, initial=0.0) <= box_step
        named = found & (classes[:, None] == their_classes[None])
        last = max(scores.min(), their_scores.min()) + score_step
        for axis, own in ((1, scores), (0, their_scores)):
            of_both, same_class = found.any(axis), named.any(axis)
            counted = of_both if name == "classes" else of_both | (own > last)
            if not counted.any():
                counted = np.ones_like(counted)
            shares.append(float((same_class if name == "classes" else of_both)[counted].mean()))
    return min(shares, default=1.0)
