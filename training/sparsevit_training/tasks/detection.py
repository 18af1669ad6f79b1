"""Boxes and classes of objects: COCO average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sparsevit_runtime import Detections
from sparsevit_runtime.progress import Progress

from ..average_precision import LEAST_SCORE, AveragePrecision, average_precision
from ..datasets import CocoBoxes, Dataset, Sample
from ..datasets.layout import Split, open_coco
from ..recipe_parts import RecipeError
from .base import TrainedTask
from .evaluation import Evaluation, RecordTally, Tally

if TYPE_CHECKING:
    from ..objectives.detection import DetectionObjective
    from ..recipe import Recipe

_METRIC = "AP"


@dataclass(frozen=True, kw_only=True)
class DetectionEvaluation(Evaluation):
    """COCO average precision.

    Attributes:
        precision: AP and AP50, overall and per class, 0..1.
    """

    recorded: ClassVar[tuple[str, ...]] = (_METRIC, "AP50")

    precision: AveragePrecision

    @property
    def score(self) -> float:
        return self.precision.ap

    @property
    def figures(self) -> dict[str, float]:
        return {_METRIC: self.precision.ap, "AP50": self.precision.ap50}

    @property
    def threshold(self) -> float | None:
        return None if self.precision.best is None else self.precision.best.threshold

    @property
    def notes(self) -> tuple[str, ...]:
        best = self.precision.best
        if best is None:
            return ()
        return (
            f"best F1 {best.f1:.2f} at threshold {best.threshold:.2f}: precision {best.precision:.2f}, "
            f"recall {best.recall:.2f} at IoU 0.5",
        )

    def to_dict(self) -> dict[str, Any]:
        best = self.precision.best
        point = {} if best is None else {"best_f1": {k: round(v, 5) for k, v in asdict(best).items()}}
        return {**super().to_dict(), **point}

    @property
    def per_class(self) -> tuple[float, ...]:
        return self.precision.per_class


class DetectionTask(TrainedTask):
    """See `TrainedTask`. Measuring needs pycocotools."""

    name: ClassVar[str] = "detection"
    heads: ClassVar[tuple[str, ...]] = ("pyramid", "yolox")
    weighs_pixels: ClassVar[bool] = True
    watches_agreement: ClassVar[bool] = True
    metric: ClassVar[str] = _METRIC
    least_score: ClassVar[float] = LEAST_SCORE

    def open_evaluation_data(
        self, root: Path, class_names: Sequence[str], split: Split, cache_mb: int, progress: Progress
    ) -> CocoBoxes:
        return open_coco(CocoBoxes, root, class_names, split, cache_mb, progress, partial=True)

    def tally(self, model: str, dataset: Dataset) -> Tally[Detections]:
        if not isinstance(dataset, CocoBoxes):
            raise self.mismatch(model, dataset, "boxes in COCO JSON")
        return _Objects(dataset)

    def check_recipe(self, recipe: Recipe) -> None:
        depths = recipe.model.depths
        if len(depths) != 4:
            raise RecipeError(f"a detector has 4 stages, for strides 8, 16 and 32; model.depths is {depths}")

    def objective(self, recipe: Recipe) -> DetectionObjective:
        from ..objectives.detection import DetectionObjective

        return DetectionObjective(recipe)


class _Objects(RecordTally[Detections]):
    def __init__(self, dataset: CocoBoxes) -> None:
        super().__init__()
        self._dataset = dataset
        self._category_of = {c.name: i + 1 for i, c in enumerate(dataset.classes)}

    def add(self, index: int, sample: Sample, result: Detections) -> None:
        wanted = [self._category_of.get(name, 0) for name in result.names]
        records = result.to_coco(self._dataset.image_ids[index], wanted)
        self.records += [r for r in records if r["category_id"]]

    def evaluation(self, **about: Any) -> DetectionEvaluation:
        data = self._dataset
        precision = average_precision(data.document, self.records, data.image_ids, data.scored)
        return DetectionEvaluation(**about, precision=precision)
