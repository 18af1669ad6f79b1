"""Accuracy of an exported file on labelled data, through the runtime: letterbox, graph and answers as deployed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparsevit_runtime import Detections, Result
from sparsevit_runtime.card import MetricCard
from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.model import Model
from sparsevit_runtime.progress import SILENT, Progress, track
from sparsevit_runtime.windows.plan import Plan, PlanLike

from .average_precision import LEAST_SCORE, AveragePrecision, average_precision
from .datasets import CocoBoxes, Dataset, Sample
from .metrics import ConfusionMatrix
from .peers import Peer

#: Version of the dictionaries `Evaluation.to_dict` returns.
EVALUATION_SCHEMA = 2


@dataclass(frozen=True, kw_only=True)
class Evaluation(ABC):
    """Accuracy at one plan.

    Attributes:
        model: its name.
        dataset: its name.
        plan: as asked for, as text.
        ratio: mean share of windows pruned over the blocks; the uniform ratio when the plan is one.
        uniform: every block has that ratio.
        images: number of frames measured.
        classes: names.
        inference_ms: median time of the graph per frame.
        total_ms: median time per frame from letterbox to answer.
    """

    model: str
    dataset: str
    plan: str
    ratio: float
    uniform: bool
    images: int
    classes: tuple[str, ...]
    inference_ms: float
    total_ms: float

    #: Figures that go into a model's card.
    recorded: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def score(self) -> float:
        """The primary metric, 0..1; NaN when nothing could be counted."""

    @property
    @abstractmethod
    def figures(self) -> dict[str, float]:
        """Names and values, 0..1, of the figures over all classes; the primary one first."""

    @property
    @abstractmethod
    def per_class(self) -> tuple[float, ...]:
        """The primary metric per class, 0..1; NaN for a class that does not occur."""

    def to_dict(self) -> dict:
        """Plain values for JSON; figures that do not exist are None."""
        return {
            "schema": EVALUATION_SCHEMA,
            "model": self.model,
            "dataset": self.dataset,
            "plan": self.plan,
            "ratio": round(self.ratio, 4),
            "images": self.images,
            **{_key(name): _plain(value) for name, value in self.figures.items()},
            "per_class": {c: _plain(v) for c, v in zip(self.classes, self.per_class, strict=True)},
            "inference_ms": round(self.inference_ms, 3),
            "total_ms": round(self.total_ms, 3),
        }

    def metrics(self) -> list[MetricCard]:
        """The figures as a model card records them, in percent; none of a plan that no single ratio describes."""
        if not self.uniform:
            return []
        return [
            MetricCard(
                name=name, dataset=self.dataset, ratio=round(self.ratio, 4), value=round(100 * value, 2), unit="%"
            )
            for name, value in self.figures.items()
            if name in self.recorded and not math.isnan(value)
        ]


@dataclass(frozen=True, kw_only=True)
class SegmentationEvaluation(Evaluation):
    """Mean intersection over union.

    Attributes:
        iou: per class, 0..1; NaN for a class neither in the labels nor predicted.
        miou: their mean over the classes that occur.
        pixel_accuracy: share of labelled pixels that are right.
    """

    recorded: ClassVar[tuple[str, ...]] = ("mIoU",)

    iou: tuple[float, ...]
    miou: float
    pixel_accuracy: float

    @property
    def score(self) -> float:
        return self.miou

    @property
    def figures(self) -> dict[str, float]:
        return {"mIoU": self.miou, "pixel accuracy": self.pixel_accuracy}

    @property
    def per_class(self) -> tuple[float, ...]:
        return self.iou


@dataclass(frozen=True, kw_only=True)
class DetectionEvaluation(Evaluation):
    """COCO average precision.

    Attributes:
        precision: AP and AP50, overall and per class, 0..1.
    """

    recorded: ClassVar[tuple[str, ...]] = ("AP", "AP50")

    precision: AveragePrecision

    @property
    def score(self) -> float:
        return self.precision.ap

    @property
    def figures(self) -> dict[str, float]:
        return {"AP": self.precision.ap, "AP50": self.precision.ap50}

    @property
    def per_class(self) -> tuple[float, ...]:
        return self.precision.per_class


def evaluate(
    model: Model,
    dataset: Dataset,
    plans: Sequence[PlanLike | None] = (0.0,),
    name: str | None = None,
    progress: Progress = SILENT,
) -> list[Evaluation]:
    """Measures a model at several plans; each frame is read once and run at all of them.

    Args:
        model: an open segmentation or detection model.
        dataset: labelled, such as `open_evaluation_data` opens; its classes must be the model's, in the same order.
        plans: sparsities in any form that `Plan.parse` takes; None for the model's own (a `--fixed` export takes no
            other).
        name: of the data in the report; the dataset's own when None.
        progress: told the frames.

    Returns:
        One evaluation per plan, in the same order.

    Raises:
        DatasetError: the data has no labels of the model's task, or classes differ.
        PlanError: a plan does not fit the model.
        MissingDependencyError: detection without pycocotools.
    """
    tallies = [_tally(model.task, model.card.name, model.class_names, dataset) for _ in plans]
    windows = model.card.windows
    own = Plan.dense(windows.depths) if windows.fixed is None else Plan(windows.fixed)
    flat = [
        [r for stage in (own if plan is None else Plan.parse(plan, windows.depths)).ratios for r in stage]
        for plan in plans
    ]

    def run(plan: PlanLike | None) -> Callable[[np.ndarray], Result]:
        return lambda frame: model(frame, plan, threshold=LEAST_SCORE)

    _measure(dataset, [run(p) for p in plans], tallies, "measuring", progress)
    return [
        tally.evaluation(
            model=model.card.name,
            dataset=name or dataset.name,
            plan="own" if plan is None else str(plan),
            ratio=sum(ratios) / len(ratios),
            uniform=len(set(ratios)) == 1,
            images=len(dataset),
            classes=model.class_names,
        )
        for plan, ratios, tally in zip(plans, flat, tallies, strict=True)
    ]


def evaluate_peer(peer: Peer, dataset: Dataset, name: str | None = None, progress: Progress = SILENT) -> Evaluation:
    """Measures another project's detector on the same data and classes; arguments and errors as for `evaluate`."""
    classes = tuple(c.name for c in dataset.classes)
    unknown = [c for c in classes if c not in peer.class_names]
    if unknown:
        raise DatasetError(f"{peer.name} does not know {unknown} of {dataset.name}; it knows {list(peer.class_names)}")
    tally = _tally("detection", peer.name, classes, dataset)
    _measure(dataset, [lambda frame: peer(frame, LEAST_SCORE)], [tally], f"measuring {peer.name}", progress)
    return tally.evaluation(
        model=peer.name,
        dataset=name or dataset.name,
        plan="own",
        ratio=0.0,
        uniform=True,
        images=len(dataset),
        classes=classes,
    )


def _measure(
    dataset: Dataset,
    runs: Sequence[Callable[[np.ndarray], Result]],
    tallies: Sequence[_Tally],
    title: str,
    progress: Progress,
) -> None:
    for index in track(range(len(dataset)), title, progress):
        sample = dataset[index]
        for run, tally in zip(runs, tallies, strict=True):
            result = run(sample.image)
            tally.add(index, sample, result)
            tally.times.append((result.timings.inference_ms, result.timings.total_ms))


class _Tally(ABC):
    """Counts over the frames of one plan; `times` are graph and total, ms per frame."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    @abstractmethod
    def add(self, index: int, sample: Sample, result: Result) -> None: ...

    @abstractmethod
    def evaluation(self, **about: object) -> Evaluation: ...

    def _times(self) -> dict[str, float]:
        inference, total = (sorted(column) for column in zip(*self.times, strict=True))
        middle = len(self.times) // 2
        return {"inference_ms": inference[middle], "total_ms": total[middle]}


class _Pixels(_Tally):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self._matrix = ConfusionMatrix(classes)

    def add(self, index, sample, result):
        self._matrix.update(sample.label, result.label_map)

    def evaluation(self, **about):
        return SegmentationEvaluation(
            **about,
            **self._times(),
            iou=tuple(float(v) for v in self._matrix.iou),
            miou=self._matrix.miou,
            pixel_accuracy=self._matrix.pixel_accuracy,
        )


class _Objects(_Tally):
    def __init__(self, dataset: CocoBoxes) -> None:
        super().__init__()
        self._dataset = dataset
        self._category_of = {c.name: i + 1 for i, c in enumerate(dataset.classes)}
        self._records: list[dict] = []

    def add(self, index: int, sample: Sample, result: Detections) -> None:
        wanted = [self._category_of.get(name, 0) for name in result.names]
        records = result.to_coco(self._dataset.image_ids[index], wanted)
        self._records += [r for r in records if r["category_id"]]

    def evaluation(self, **about):
        data = self._dataset
        precision = average_precision(data.document, self._records, data.image_ids)
        return DetectionEvaluation(**about, **self._times(), precision=precision)


def _tally(task: str, model: str, class_names: tuple[str, ...], dataset: Dataset) -> _Tally:
    """Checks that model and data belong together."""
    if task not in ("segmentation", "detection"):
        raise DatasetError(f"{model} is a {task} model; there is a metric for segmentation and detection models")
    if (task == "detection") != isinstance(dataset, CocoBoxes):
        needed = "boxes in COCO JSON" if task == "detection" else "label maps (CamVid layout)"
        raise DatasetError(f"{model} is a {task} model and needs {needed}; {dataset.name} has none")
    expected = tuple(c.name for c in dataset.classes)
    if expected != class_names:
        raise DatasetError(
            f"{dataset.name} has classes {list(expected)}, {model} predicts {list(class_names)}; "
            "evaluate on data with the model's classes in the model's order"
        )
    return _Objects(dataset) if isinstance(dataset, CocoBoxes) else _Pixels(len(expected))


def _key(name: str) -> str:
    return name.lower().replace(" ", "_")


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
