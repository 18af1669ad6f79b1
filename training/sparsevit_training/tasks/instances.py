"""Boxes, classes and masks of objects: COCO average precision of masks and of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sparsevit_runtime import Instances
from sparsevit_runtime.progress import Progress

from ..average_precision import LEAST_SCORE, AveragePrecision, average_precision
from ..datasets import CocoInstances, Dataset, LearnedFrom, Sample
from ..datasets.layout import Split, open_coco
from ..recipe_parts import RecipeError
from .base import TrainedTask
from .evaluation import Evaluation, RecordTally, Tally

if TYPE_CHECKING:
    from ..objectives.instances import InstancesObjective
    from ..recipe import Recipe

_METRIC = "mask AP"


@dataclass(frozen=True, kw_only=True)
class InstancesEvaluation(Evaluation):
    """COCO average precision, IoU once of masks and once of boxes.

    Attributes:
        masks, boxes: AP and AP50, overall and per class, 0..1.
    """

    recorded: ClassVar[tuple[str, ...]] = (_METRIC, "mask AP50", "box AP", "box AP50")

    masks: AveragePrecision
    boxes: AveragePrecision

    @property
    def score(self) -> float:
        return self.masks.ap

    @property
    def figures(self) -> dict[str, float]:
        values = self.masks.ap, self.masks.ap50, self.boxes.ap, self.boxes.ap50
        return dict(zip(self.recorded, values, strict=True))

    @property
    def per_class(self) -> tuple[float, ...]:
        return self.masks.per_class


class InstancesTask(TrainedTask):
    """See `TrainedTask`. Measuring and training need pycocotools."""

    name: ClassVar[str] = "instances"
    metric: ClassVar[str] = _METRIC
    least_score: ClassVar[float] = LEAST_SCORE
    learns_from: ClassVar[LearnedFrom] = "masks"
    heads: ClassVar[tuple[str, ...]] = ("mask_rcnn",)

    def open_evaluation_data(
        self, root: Path, class_names: Sequence[str], split: Split, cache_mb: int, progress: Progress
    ) -> CocoInstances:
        return open_coco(CocoInstances, root, class_names, split, cache_mb, progress, partial=True)

    def tally(self, model: str, dataset: Dataset) -> Tally[Instances]:
        if not isinstance(dataset, CocoInstances):
            raise self.mismatch(model, dataset, "masks in COCO JSON")
        return _Masks(dataset)

    def check_recipe(self, recipe: Recipe) -> None:
        depths = recipe.model.depths
        if len(depths) != 4:
            raise RecipeError(f"Mask R-CNN has 4 stages, for strides 4 to 32; model.depths is {depths}")
        uneven = [(c.height, c.width) for c in recipe.crops if c.height % 32 or c.width % 32]
        if uneven:
            raise RecipeError(f"crops have sides that are multiples of 32 pixels, as Mask R-CNN sees them; {uneven}")
        if recipe.augmentation.mosaic_probability:
            raise RecipeError("augmentation.mosaic_probability is for detection: no mosaic is made of masks")
        if recipe.teacher is not None and recipe.teacher.grid:
            raise RecipeError("teacher.grid is for detection: instances have no such answers to learn")

    def objective(self, recipe: Recipe) -> InstancesObjective:
        from ..objectives.instances import InstancesObjective

        return InstancesObjective(recipe)


class _Masks(RecordTally[Instances]):
    masked: ClassVar[bool] = True

    def __init__(self, dataset: CocoInstances) -> None:
        super().__init__()
        self._dataset = dataset
        self._category_of = {c.name: i + 1 for i, c in enumerate(dataset.classes)}

    def add(self, index: int, sample: Sample, result: Instances) -> None:
        wanted = [self._category_of.get(name, 0) for name in result.names]
        records = result.to_coco(self._dataset.image_ids[index], wanted)
        self.records += [r for r in records if r["category_id"]]

    def evaluation(self, **about: Any) -> InstancesEvaluation:
        data, records = self._dataset, self.records
        masks = average_precision(data.document, records, data.image_ids, data.scored, "segm")
        boxes = average_precision(data.document, records, data.image_ids, data.scored)
        return InstancesEvaluation(**about, masks=masks, boxes=boxes)
