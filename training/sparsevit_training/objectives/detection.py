"""Boxes and classes of objects, learned."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from sparsevit_exporter.backbone import SparseViT
from sparsevit_exporter.heads import DetectionHead
from sparsevit_exporter.heads.decoupled import DecoupledHead
from sparsevit_exporter.heads.detection import RawDetections
from sparsevit_exporter.tasks.detection import DetectionModel
from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.tasks.coco_classes import COCO_CLASSES

from ..augmentation import crop_boxes, fit_scale, mosaic
from ..batch import Batch, normalize
from ..datasets import Boxes, ClassInfo, CocoBoxes, Dataset, Sample
from ..detection_loss import ONE_TO_MANY, agreement, answer_distillation, assigned_loss, locations_of
from ..growing import grow
from ..importance import object_weights
from ..models import TrainedModel
from ..monitor import average_precision_at, box_agreement_at
from .base import Draw, Objective, check_objects

log = logging.getLogger(__name__)

#: What both branches of a head say, the first of which may be missing.
_Branches: TypeAlias = tuple[RawDetections | None, RawDetections]


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

    def build(self, backbone: SparseViT, num_classes: int) -> DetectionModel:
        return DetectionModel(backbone, num_classes, self.recipe.model.head_channels, self.recipe.model.head)

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

    def grow(self, model: TrainedModel, classes: Sequence[ClassInfo], batches: Iterable[Batch]) -> None:
        if not isinstance(model.head, DecoupledHead) or self.recipe.model.front_weights is None:
            return
        unknown = [c.name for c in classes if c.name not in COCO_CLASSES]
        if unknown:
            log.warning("the head begins with random weights: YOLOX knows no %s", ", ".join(unknown))
            return
        settings = self.recipe.input
        images = [normalize(batch.images, settings.mean, settings.std) for batch in batches]
        numbers = [COCO_CLASSES.index(c.name) for c in classes]
        explained = grow(model.backbone, model.head, self.recipe.model.front_weights, numbers, images)
        log.info("grown on YOLOX: the stems explain %s of what its own say", ", ".join(f"{e:.3f}" for e in explained))

    def predict(self, model: Any, maps: Sequence[Tensor]) -> _Branches:
        head: DetectionHead = model.head
        return head.forward_training(maps)

    def answer(self, model: Any, images: Tensor) -> _Branches:
        return self.predict(model, model.backbone(images))

    def losses(self, predictions: _Branches, batch: Batch) -> dict[str, Tensor]:
        settings, device = self.recipe.loss, self.device
        one_to_one, one_to_many = predictions
        locations, strides = (t.to(device) for t in locations_of(*batch.images.shape[1:3]))
        found = {}
        for name, raw, count, weight in (
            ("one_to_one", one_to_one, 1, settings.one_to_one),
            ("one_to_many", one_to_many, ONE_TO_MANY, 1.0),
        ):
            if raw is None:
                found[name] = torch.zeros((), device=device)
                continue
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

    def pixel_weights(self, batch: Batch) -> Tensor:
        """See `object_weights`; 0 in images that are not annotated."""
        boxes = [None if truth is None else truth[0] for truth in batch.labels]
        return object_weights(boxes, batch.images.shape[1:3]).to(self.device)

    def match_dense(self, predictions: _Branches, dense: _Branches) -> Tensor:
        """Of both branches: that which is deployed does not steer the features where there is another beside it."""
        total = torch.zeros((), device=self.device)
        for pruned, whole in zip(predictions, dense, strict=True):
            if pruned is not None and whole is not None:
                classified, boxed = agreement(pruned, whole)
                total = total + classified + self.recipe.loss.box * boxed
        return total

    def scores(
        self, model: TrainedModel, dataset: Dataset, ratios: Sequence[float], dtype: torch.dtype | None
    ) -> dict[float, float]:
        boxes = cast(CocoBoxes, dataset)  # nothing else passes `check`
        return average_precision_at(model, boxes, self.recipe.input, ratios, self.device, dtype)

    def agreement(
        self, model: TrainedModel, dataset: Dataset, ratios: Sequence[float], dtype: torch.dtype | None
    ) -> dict[float, float]:
        boxes = cast(CocoBoxes, dataset)
        return box_agreement_at(model, boxes, self.recipe.input, ratios, self.device, dtype)
