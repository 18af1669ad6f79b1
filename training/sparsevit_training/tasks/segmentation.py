"""A class for every pixel: mIoU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sparsevit_runtime import Segmentation
from sparsevit_runtime.progress import Progress

from ..datasets import CocoMasks, Dataset, LearnedFrom, Sample, SemanticFolder, read_classes
from ..datasets.layout import DEFAULT_SPLITS, Split, has_coco, open_coco
from ..metrics import ConfusionMatrix
from .base import TrainedTask
from .evaluation import Evaluation, Tally

if TYPE_CHECKING:
    from ..objectives.segmentation import SegmentationObjective
    from ..recipe import Recipe

log = logging.getLogger(__name__)

_METRIC = "mIoU"


@dataclass(frozen=True, kw_only=True)
class SegmentationEvaluation(Evaluation):
    """Mean intersection over union.

    Attributes:
        iou: values per class, 0..1; NaN for a class neither in the labels nor predicted.
        miou: their mean over the classes that occur.
        pixel_accuracy: share of labelled pixels that are right.
    """

    recorded: ClassVar[tuple[str, ...]] = (_METRIC,)

    iou: tuple[float, ...]
    miou: float
    pixel_accuracy: float

    @property
    def score(self) -> float:
        return self.miou

    @property
    def figures(self) -> dict[str, float]:
        return {_METRIC: self.miou, "pixel accuracy": self.pixel_accuracy}

    @property
    def per_class(self) -> tuple[float, ...]:
        return self.iou


class SegmentationTask(TrainedTask):
    """See `TrainedTask`."""

    name: ClassVar[str] = "segmentation"
    metric: ClassVar[str] = _METRIC
    learns_from: ClassVar[LearnedFrom] = "label map"
    weighs_pixels: ClassVar[bool] = True
    watches_agreement: ClassVar[bool] = True
    tunes_classes: ClassVar[bool] = True
    heads: ClassVar[tuple[str, ...]] = ("pyramid", "mlp")

    def open_evaluation_data(
        self, root: Path, class_names: Sequence[str], split: Split, cache_mb: int, progress: Progress
    ) -> Dataset:
        if (root / "classes.txt").exists() or not has_coco(root, split):
            return _semantic(root, class_names, split, cache_mb, progress)
        background, *names = class_names
        return open_coco(CocoMasks, root, names, split, cache_mb, progress, background=background, partial=True)

    def tally(self, model: str, dataset: Dataset) -> Tally[Segmentation]:
        if len(dataset) and dataset[0].label is None:
            raise self.mismatch(model, dataset, "label maps (CamVid layout)")
        scored = [i for i, c in enumerate(dataset.classes) if c.name not in dataset.unscored]
        return _Pixels(len(dataset.classes), scored)

    def objective(self, recipe: Recipe) -> SegmentationObjective:
        from ..objectives.segmentation import SegmentationObjective

        return SegmentationObjective(recipe)


class _Pixels(Tally[Segmentation]):
    def __init__(self, classes: int, scored: Sequence[int]) -> None:
        self._matrix = ConfusionMatrix(classes, scored=scored)

    def add(self, index: int, sample: Sample, result: Segmentation) -> None:
        self._matrix.update(sample.require_label(), result.label_map)

    def evaluation(self, **about: Any) -> SegmentationEvaluation:
        return SegmentationEvaluation(
            **about,
            iou=tuple(float(v) for v in self._matrix.iou),
            miou=self._matrix.miou,
            pixel_accuracy=self._matrix.pixel_accuracy,
        )


def _semantic(
    root: Path, class_names: Sequence[str], split: Split, cache_mb: int, progress: Progress
) -> SemanticFolder:
    classes = read_classes(root / "classes.txt")
    void = [c.name for c in classes.values() if c.name not in class_names]
    if void:
        log.warning("not counted, because the model has no such class: %s", ", ".join(void))
    if split is None:
        split = next((s for s in DEFAULT_SPLITS if (root / s).is_dir()), DEFAULT_SPLITS[0])
    splits = [split] if isinstance(split, str) else list(split)
    data = SemanticFolder(root, splits, cache_mb=cache_mb, progress=progress, names=class_names, partial=True)
    data.name = " ".join([root.name, *splits])
    return data
