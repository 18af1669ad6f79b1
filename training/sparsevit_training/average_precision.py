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
class AveragePrecision:
    """AP over IoU 0.50 to 0.95 and AP50, 0..1, with at most 100 boxes per image.

    Attributes:
        ap, ap50: means over the classes that occur; NaN when none does.
        per_class, per_class50: (K,) each; NaN for a class without any object.
    """

    ap: float
    ap50: float
    per_class: tuple[float, ...]
    per_class50: tuple[float, ...]


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
    precision = run.eval["precision"][:, :, :, 0, -1]  # (IoU thresholds, recalls, K): all areas, 100 boxes
    if names is not None:
        left_out = [k for k, c in enumerate(truth["categories"]) if c["name"] not in names]
        precision[:, :, left_out] = -1
    per_class = [_mean(precision[:, :, k]) for k in range(classes)]
    per_class50 = [_mean(precision[0, :, k]) for k in range(classes)]
    return AveragePrecision(_mean(precision), _mean(precision[0]), tuple(per_class), tuple(per_class50))


def _mean(precision: np.ndarray) -> float:
    """Mean over what was measured; pycocotools marks the rest with -1."""
    measured = precision[precision > -1]
    return float(measured.mean()) if measured.size else float("nan")
