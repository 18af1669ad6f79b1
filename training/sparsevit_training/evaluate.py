"""Accuracy of an exported file on labelled data, through the runtime: letterbox, graph and label map as deployed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sparsevit_runtime.card import MetricCard
from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.model import Model
from sparsevit_runtime.plan import Plan, PlanLike

from .datasets import Dataset
from .metrics import ConfusionMatrix

#: Version of the dictionaries `Evaluation.to_dict` returns.
EVALUATION_SCHEMA = 1


@dataclass(frozen=True)
class Evaluation:
    """Segmentation accuracy at one plan.

    Attributes:
        dataset: its name.
        plan: as asked for, as text.
        ratio: mean share of windows pruned over the blocks; the uniform ratio when the plan is one.
        images: number of frames measured.
        classes: names.
        iou: per class, 0..1; NaN for a class neither in the labels nor predicted.
        miou: their mean over the classes that occur.
        pixel_accuracy: share of labelled pixels that are right.
        inference_ms: median time of the graph per frame.
    """

    dataset: str
    plan: str
    ratio: float
    images: int
    classes: tuple[str, ...]
    iou: tuple[float, ...]
    miou: float
    pixel_accuracy: float
    inference_ms: float

    def to_dict(self) -> dict:
        """Plain values for JSON; IoU of absent classes is None."""
        return {
            "schema": EVALUATION_SCHEMA,
            "dataset": self.dataset,
            "plan": self.plan,
            "ratio": round(self.ratio, 4),
            "images": self.images,
            "miou": round(self.miou, 5),
            "pixel_accuracy": round(self.pixel_accuracy, 5),
            "iou": {c: None if math.isnan(v) else round(v, 5) for c, v in zip(self.classes, self.iou, strict=True)},
            "inference_ms": round(self.inference_ms, 3),
        }

    def metric(self) -> MetricCard:
        """The figure as a model card records it, in percent."""
        return MetricCard(
            name="mIoU", dataset=self.dataset, ratio=round(self.ratio, 4), value=round(100 * self.miou, 2), unit="%"
        )


def evaluate(
    model: Model,
    dataset: Dataset,
    plans: Sequence[PlanLike | None] = (0.0,),
    name: str | None = None,
    progress: Callable[[Sequence[int]], Iterable[int]] | None = None,
) -> list[Evaluation]:
    """Measures mIoU at several plans; each frame is read once and run at all of them.

    Args:
        model: an open segmentation model.
        dataset: labelled; its classes must be the model's, in the same order.
        plans: sparsities in any form that `Plan.parse` takes; None for the model's own (a `--fixed` export takes no
            other).
        name: of the data in the report; the dataset's own when None.
        progress: given the indices, returns them while showing progress.

    Returns:
        One evaluation per plan, in the same order.

    Raises:
        DatasetError: the model is not a segmentation model, or classes differ.
        PlanError: a plan does not fit the model.
    """
    if model.task != "segmentation":
        raise DatasetError(f"mIoU needs a segmentation model; {model.card.name} is a {model.task} model")
    expected = tuple(c.name for c in dataset.classes)
    if expected != model.class_names:
        raise DatasetError(
            f"{dataset.name} has classes {list(expected)}, {model.card.name} predicts {list(model.class_names)}; "
            "evaluate on data with the model's classes in the model's order"
        )
    windows = model.card.windows
    own = Plan.dense(windows.depths) if windows.fixed is None else Plan(windows.fixed)
    ratios = [_mean_ratio(own if plan is None else Plan.parse(plan, windows.depths)) for plan in plans]
    matrices = [ConfusionMatrix(len(expected)) for _ in plans]
    times: list[list[float]] = [[] for _ in plans]
    indices = range(len(dataset))
    for index in progress(indices) if progress else indices:
        sample = dataset[index]
        for plan, matrix, spent in zip(plans, matrices, times, strict=True):
            result = model(sample.image, plan)
            matrix.update(sample.label, result.label_map)
            spent.append(result.timings.inference_ms)
    return [
        Evaluation(
            dataset=name or dataset.name,
            plan="own" if plan is None else str(plan),
            ratio=ratio,
            images=len(dataset),
            classes=expected,
            iou=tuple(float(v) for v in matrix.iou),
            miou=matrix.miou,
            pixel_accuracy=matrix.pixel_accuracy,
            inference_ms=sorted(spent)[len(spent) // 2],
        )
        for plan, ratio, matrix, spent in zip(plans, ratios, matrices, times, strict=True)
    ]


def _mean_ratio(plan: Plan) -> float:
    flat = [r for stage in plan.ratios for r in stage]
    return sum(flat) / len(flat)
