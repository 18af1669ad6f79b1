"""When two runs of one network agree: the one table of limits, and how each kind of tensor is compared.

Real numbers are compared by their largest difference and their cosine, labels by the share that is equal, window orders
by the windows that both have among their first. A value that is not finite agrees with nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

Precision = Literal["fp32", "fp16"]


@dataclass(frozen=True)
class Limits:
    """By how much two runs may differ. Shares are of any one image.

    Attributes:
        difference: difference of real numbers, the largest, over the tensor's largest magnitude; infinite where it
            does not decide.
        within: least share of real numbers within `difference`.
        cosine: least, of real numbers; -1 where it does not decide.
        labels: least share that is equal.
        order: least agreement of two orders of windows.
        detections: least share that both have.
        same: scores and corners within this share of their tensor's largest magnitude are those of one detection.
    """

    difference: float
    within: float
    cosine: float
    labels: float
    order: float
    detections: float
    same: float


#: Whole tensors of two runs, on two backends, devices or precisions, each with the windows it chose itself. A whole
#: network in half precision differs from float32 by about 2e-3 of a tensor's scale, and by a few neighbours in the
#: order of its windows (`order_agreement`).
COMPARED: Mapping[Precision, Limits] = {
    "fp32": Limits(difference=1e-3, within=1.0, cosine=0.999, labels=0.999, order=0.99, detections=0.99, same=1e-3),
    "fp16": Limits(difference=math.inf, within=1.0, cosine=0.999, labels=0.99, order=0.95, detections=0.98, same=1e-2),
}
#: An exported graph against the network in PyTorch, which takes the graph's windows and, for labels and boxes, its
#: logits: nothing but rounding may differ. Of a tensor that stays below 1 the difference is absolute, and so is that of
#: two scores. Every order must descend in PyTorch's scores, up to `difference`.
PARITY: Mapping[Precision, Limits] = {
    "fp32": Limits(difference=1e-4, within=1.0, cosine=0.999999, labels=0.999, order=1.0, detections=0.999, same=1e-6),
    "fp16": Limits(difference=5e-2, within=1.0, cosine=0.999, labels=0.999, order=1.0, detections=0.999, same=1e-6),
}
#: Samples recorded in a model's card, for any machine: `difference` is absolute plus relative, of each value, and of an
#: order the share of places that hold the same window.
RECORDED: Mapping[Precision, Limits] = {
    "fp32": Limits(difference=2e-3, within=0.98, cosine=-1.0, labels=0.98, order=0.9, detections=0.98, same=2e-3),
    "fp16": Limits(difference=2e-3, within=0.98, cosine=-1.0, labels=0.98, order=0.6, detections=0.98, same=2e-3),
}
#: A network read back from an exported file against that file, whose weights may be in half precision.
READ_BACK = Limits(difference=0.02, within=0.98, cosine=-1.0, labels=0.98, order=-1.0, detections=0.98, same=0.02)


def precision_of(precisions: Iterable[str], *, tf32: bool = False) -> Precision:
    """Whose limits apply to runs of several precisions: those of the least exact.

    Args:
        precisions: precisions of the graphs that are run.
        tf32: products may round their factors to TF32, which has no more bits of mantissa than half precision.
    """
    return "fp16" if tf32 or "fp16" in precisions else "fp32"


class TensorAgreement(BaseModel):
    """One tensor of two runs.

    Attributes:
        tensor: its name.
        run: title of the run.
        values: compared.
        difference: largest, over the tensor's largest magnitude; None for whole numbers, detections, and where it
            cannot be told.
        cosine: least of any image; None likewise.
        agreement: least share of any image that agrees; None for real numbers.
        required: limit of what is accepted, in words.
        of_limit: share of what is accepted the tensor takes: 1 is the limit. None where it cannot be compared.
        problem: reason why it is not right; None when it agrees.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tensor: str
    run: str = ""
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


def worst_first(rows: Iterable[TensorAgreement]) -> tuple[TensorAgreement, ...]:
    """One row per tensor, that of its worst run; the worst tensor first, equals in the order they came."""

    def badness(row: TensorAgreement) -> tuple[bool, float]:
        return not row.agrees, math.inf if row.of_limit is None else row.of_limit

    worst: dict[str, TensorAgreement] = {}
    for row in rows:
        if row.tensor not in worst or badness(row) > badness(worst[row.tensor]):
            worst[row.tensor] = row
    return tuple(sorted(worst.values(), key=badness, reverse=True))


def compare_values(tensor: str, ours: np.ndarray, theirs: np.ndarray, limits: Limits) -> TensorAgreement:
    """A tensor by its type: `compare_real` or `compare_labels`."""
    compare = compare_real if theirs.dtype.kind == "f" else compare_labels
    return compare(tensor, ours, theirs, limits)


def compare_real(tensor: str, ours: np.ndarray, theirs: np.ndarray, limits: Limits) -> TensorAgreement:
    """Real numbers, by largest difference and cosine.

    Args:
        tensor: its name.
        ours, theirs: (B, ...) real; `theirs` is what it should be.
        limits: limits of what is accepted.
    """
    if (row := incomparable(tensor, ours, theirs)) is not None:
        return row
    difference, cosine = 0.0, 1.0
    scale = float(np.abs(theirs).max(initial=0.0)) or 1.0
    for a, b in zip(ours, theirs):  # a whole batch of feature maps in float64 would take several times their memory
        a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        difference = max(difference, float(np.abs(a - b).max(initial=0.0)) / scale)
        cosine = min(cosine, cosine_of(a, b))
    problem, required = None, f"cosine >= {limits.cosine:g}"
    if cosine < limits.cosine:
        problem = f"its cosine is {cosine:.6f}, at least {limits.cosine:g} is accepted"
    of_limit = (1 - cosine) / (1 - limits.cosine)
    if math.isfinite(limits.difference):
        required = f"difference <= {limits.difference:g}"
        of_limit = max(of_limit, difference / limits.difference)
        if difference > limits.difference:
            problem = f"it differs by {difference:.3g} of its scale, {limits.difference:g} is accepted"
    return TensorAgreement(
        tensor=tensor,
        values=theirs.size,
        difference=difference,
        cosine=cosine,
        required=required,
        of_limit=of_limit,
        problem=problem,
    )


def compare_labels(tensor: str, ours: np.ndarray, theirs: np.ndarray, limits: Limits) -> TensorAgreement:
    """Whole numbers (B, ...), by the share that is equal."""
    if (row := incomparable(tensor, ours, theirs)) is not None:
        return row
    share = least_of_images(lambda a, b: float((a == b).mean()), ours, theirs)
    return compare_share(tensor, theirs.size, share, limits.labels)


def compare_order(tensor: str, ours: np.ndarray, theirs: np.ndarray, limits: Limits) -> TensorAgreement:
    """Orders of windows (B, n), by `order_agreement`."""
    if (row := incomparable(tensor, ours, theirs)) is not None:
        return row
    # Two neighbours of equal score may always change places, however few windows there are.
    swap = 1 / theirs.shape[1] if theirs.shape[1] > 1 else 0.0
    share = least_of_images(order_agreement, ours, theirs)
    return compare_share(tensor, theirs.size, share, min(limits.order, 1 - swap))


def compare_share(tensor: str, values: int, share: float, required: float) -> TensorAgreement:
    """The row of a share that agrees.

    Args:
        tensor: its name.
        values: compared.
        share: that agrees, 0 to 1.
        required: least share accepted.
    """
    share, required = round(share, 9), round(required, 9)  # of sums that differ in their last bits
    wrong = 1 - share
    return TensorAgreement(
        tensor=tensor,
        values=values,
        agreement=share,
        required=f"{required:.1%} agree",
        of_limit=wrong / (1 - required) if required < 1 else wrong,
        problem=None if share >= required else f"{share:.1%} of it agrees, {required:.1%} must",
    )


def incomparable(tensor: str, ours: np.ndarray, theirs: np.ndarray) -> TensorAgreement | None:
    """The row of tensors of two shapes, or with values that are not finite; None where they can be compared."""
    problem = None
    if ours.shape != theirs.shape:
        problem = f"its shape is {ours.shape}, the other's is {theirs.shape}"
    else:
        for whose, array in (("its", ours), ("the other's", theirs)):
            wrong = count_not_finite(array)
            if wrong:
                problem = f"{wrong} of {whose} {array.size} values are not finite"
                break
    if problem is None:
        return None
    return TensorAgreement(tensor=tensor, values=theirs.size, required="comparable", of_limit=None, problem=problem)


def count_not_finite(array: np.ndarray) -> int:
    """How many values are NaN or infinite."""
    return int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0


def least_of_images(measure: Callable[[np.ndarray, np.ndarray], float], ours: np.ndarray, theirs: np.ndarray) -> float:
    """The least that is measured of any image; 1 where there is nothing."""
    return min((measure(a, b) for a, b in zip(ours, theirs) if b.size), default=1.0)


def cosine_of(a: np.ndarray, b: np.ndarray) -> float:
    """Of two vectors (n,); 1 when both are nothing."""
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(lengths) == 0.0:
        return float(max(lengths) == 0.0)
    return min(1.0, float((a / lengths[0]) @ (b / lengths[1])))


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
        kept: numbers of first windows that are computed, one per block, by name.
    """
    apart = 0.0
    for name, counts in kept.items():
        for count in counts:
            for a, b in zip(ours[name], theirs[name]):
                apart = max(apart, 1 - np.intersect1d(a[:count], b[:count]).size / count)
    return apart
