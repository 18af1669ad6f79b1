"""Boxes and classes of objects, learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sparsevit_exporter.heads import DetectionHead
from sparsevit_exporter.heads.detection import RawDetections
from sparsevit_exporter.tasks.detection import DetectionModel
from sparsevit_runtime.errors import DatasetError

from ..augmentation import crop_boxes, fit_scale, mosaic
from ..batch import Batch
from ..datasets import Boxes, ClassInfo, CocoBoxes, Dataset, Sample
from ..detection_loss import ONE_TO_MANY, agreement, answer_distillation, assigned_loss, locations_of
from ..models import TrainedModel
from ..monitor import average_precision_at
from .base import Draw, Objective, check_objects


class DetectionObjective(Objective):
    """Dual assignment: a one-to-one branch that is deployed, and a one-to-many branch that teaches the features.

    With a teacher's grid the one-to-many branch also learns the teacher's answer at every location, on every image.
    """

    network = DetectionModel
    terms = ("one_to_one", "one_to_many", "answers")

    def check(self, dataset: Dataset) -> None:
        if dataset.classes and dataset[0].boxes is None:
            raise DatasetError(f"{dataset.name} has no boxes to learn detection from; it takes data of kind coco")

    def prepare(self, datasets: Sequence[Dataset], classes: Sequence[ClassInfo], device: torch.device) -> None:
        super().prepare(datasets, classes, device)
        check_objects(datasets, classes)

    def view(self, draw: Draw, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, Boxes | None]:
        if rng.random() >= self.recipe.augmentation.mosaic_probability or size[0] % 2 or size[1] % 2:
            return self._crop(draw(), size, rng, 1.0)
        return mosaic([self._crop(draw(), (size[0] // 2, size[1] // 2), rng, 0.6) for _ in range(4)])

    def _crop(
        self, sample: Sample, size: tuple[int, int], rng: np.random.Generator, reduction: float
    ) -> tuple[np.ndarray, Boxes | None]:
        settings, deployed = self.recipe.augmentation, self.recipe.input
        unit = fit_scale(sample.image.shape[:2], (deployed.height, deployed.width)) if settings.fit else 1.0
        return crop_boxes(sample, size, settings, rng, unit * reduction)

    def collate(self, truths: Sequence[Boxes | None]) -> list[tuple[Tensor, Tensor] | None]:
        """Per image boxes (N, 4) float32 xyxy in pixels and classes (N,) int64; None where not annotated."""
        return [None if t is None else (torch.from_numpy(t.xyxy), torch.from_numpy(t.classes)) for t in truths]

    def predict(self, model: Any, maps: Sequence[Tensor]) -> tuple[RawDetections, RawDetections]:
        head: DetectionHead = model.head
        return head.forward_training(maps)

    def losses(self, predictions: tuple[RawDetections, RawDetections], batch: Batch) -> dict[str, Tensor]:
        settings, device = self.recipe.loss, self.device
        one_to_one, one_to_many = predictions
        locations, strides = (t.to(device) for t in locations_of(*batch.images.shape[1:3]))
        found = {}
        for name, raw, count, weight in (
            ("one_to_one", one_to_one, 1, settings.one_to_one),
            ("one_to_many", one_to_many, ONE_TO_MANY, 1.0),
        ):
            classified, boxed = assigned_loss(raw, batch.labels, locations, strides, count)
            found[name] = weight * (classified + settings.box * boxed)
        found["answers"] = torch.zeros((), device=device)
        teacher, targets = self.recipe.teacher, batch.targets
        if teacher is not None and targets is not None and targets.scores is not None and targets.boxes is not None:
            weight = teacher.grid_weight + (teacher.final_grid_weight - teacher.grid_weight) * batch.progress
            scores, boxes = targets.scores.to(device), targets.boxes.to(device)
            classified, boxed = answer_distillation(one_to_many, scores, boxes)
            found["answers"] = weight * (classified + settings.box * boxed)
        return found

    def match_dense(self, predictions: tuple[RawDetections, RawDetections], dense: RawDetections) -> Tensor:
        classified, boxed = agreement(predictions[0], dense)
        return classified + self.recipe.loss.box * boxed

    def scores(
        self, model: TrainedModel, dataset: Dataset, ratios: Sequence[float], dtype: torch.dtype | None
    ) -> dict[float, float]:
        boxes = cast(CocoBoxes, dataset)  # nothing else passes `check`
        return average_precision_at(model, boxes, self.recipe.input, ratios, self.device, dtype)
