"""COCO average precision, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sparsevit_runtime.dependencies import require

#: What is compared: boxes, or masks.
Compared = Literal["bbox", "segm"]
#: Boxes per frame and least score that count.
MOST_BOXES = 100
LEAST_SCORE = 0.005


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what is found there at an IoU of 0.5, all classes counted as one.

    Attributes:
        threshold: least score.
        f1, precision, recall: 0..1.
    """

    threshold: float
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True)
class AveragePrecision:
    """AP over IoU 0.50 to 0.95 and AP50, 0..1, with at most 100 boxes per image.

    Attributes:
        best: threshold of the greatest F1; None where there is no object, or nothing was found.
        ap, ap50: means over the classes that occur; NaN when none does.
        per_class, per_class50: (K,) each; NaN for a class without any object.
    """

    ap: float
    ap50: float
    per_class: tuple[float, ...]
    per_class50: tuple[float, ...]
    best: OperatingPoint | None = None


def average_precision(
    truth: dict,
    records: Sequence[dict],
    image_ids: Sequence[int] | None = None,
    names: Collection[str] | None = None,
    compared: Compared = "bbox",
) -> AveragePrecision:
    """Scores detections.

    Args:
        truth: COCO document with categories 1 to K, such as `CocoBoxes.document`; for masks `CocoInstances.document`.
        records: records as `Detections.to_coco` gives them, over the same categories; for masks `Instances.to_coco`.
        image_ids: count these images alone; all when None.
        names: count these categories alone; all when None. The others have NaN.
        compared: what IoU is of, in pycocotools' words.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    require("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    classes = len(truth["categories"])
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports by print
        coco: Any = COCO()
        coco.dataset = truth
        coco.createIndex()
        found = coco.loadRes([dict(record) for record in records]) if records else COCO()  # it writes into them
        if not records:
            found.dataset = {"images": truth["images"], "annotations": [], "categories": truth["categories"]}
            found.createIndex()
        run = COCOeval(coco, found, compared)
        if image_ids is not None:
            run.params.imgIds = list(image_ids)
        run.evaluate()
        run.accumulate()
    if names is None:
        counted = set(range(classes))
    else:
        counted = {k for k, c in enumerate(truth["categories"]) if c["name"] in names}
    best = _best_point(run, counted)
    precision = run.eval["precision"][:, :, :, 0, -1]  # (IoU thresholds, recalls, K): all areas, 100 boxes
    precision[:, :, [k for k in range(classes) if k not in counted]] = -1
    per_class = [_mean(precision[:, :, k]) for k in range(classes)]
    per_class50 = [_mean(precision[0, :, k]) for k in range(classes)]
    return AveragePrecision(_mean(precision), _mean(precision[0]), tuple(per_class), tuple(per_class50), best)


def _best_point(run: Any, classes: Collection[int]) -> OperatingPoint | None:
    """The threshold of the greatest F1 at an IoU of 0.5, from what pycocotools matched; crowds do not count."""
    images, areas = len(run.params.imgIds), len(run.params.areaRng)  # the first area is all
    pairs = [p for k in classes for p in run.evalImgs[k * areas * images : k * areas * images + images] if p]
    objects = sum(int((~np.asarray(p["gtIgnore"], bool)).sum()) for p in pairs)
    counts = [~np.asarray(p["dtIgnore"][0], bool) for p in pairs]
    scores = np.concatenate([np.asarray(p["dtScores"], float)[c] for p, c in zip(pairs, counts)] or [np.zeros(0)])
    right = np.concatenate([p["dtMatches"][0][c] > 0 for p, c in zip(pairs, counts)] or [np.zeros(0, bool)])
    if not objects or not len(scores):
        return None
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], right[order].cumsum()
    last = np.append(scores[1:] < scores[:-1], True)  # a threshold takes all of one score
    f1 = np.where(last, 2 * found / (np.arange(1, len(scores) + 1) + objects), -1.0)
    at = int(f1.argmax())
    return OperatingPoint(float(scores[at]), float(f1[at]), float(found[at] / (at + 1)), float(found[at] / objects))


def _mean(precision: np.ndarray) -> float:
    """Mean over what was measured; pycocotools marks the rest with -1."""
    measured = precision[precision > -1]
    return float(measured.mean()) if measured.size else float("nan")
