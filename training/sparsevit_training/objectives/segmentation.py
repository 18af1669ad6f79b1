"""A class for every pixel, learned."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sparsevit_exporter.tasks.segmentation import HEADS
from sparsevit_runtime.errors import DatasetError

from ..augmentation import crop_sample, fit_scale, paste_classes
from ..batch import Batch
from ..class_bias import scores_of, tuned_bias
from ..datasets import FIRST_GROUP, IGNORE, ClassInfo, Dataset, Sample
from ..losses import SegmentationLoss, class_weights, self_distillation
from ..models import TrainedModel
from ..monitor import label_agreement_at, miou_at
from ..recipe import Recipe
from ..recipe_parts import ClassBiasRecipe
from ..tasks.segmentation import SegmentationTask
from .base import Draw, Objective

log = logging.getLogger(__name__)

#: The whole loss is one term, which has the task's name in the log.
_TERM = SegmentationTask.name


class SegmentationObjective(Objective):
    """Weighted cross-entropy with Lovasz-softmax."""

    terms = (_TERM,)

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.network = HEADS[recipe.model.head].network

    def check(self, dataset: Dataset) -> None:
        if dataset.classes and dataset[0].label is None:
            raise DatasetError(
                f"{dataset.name} has no label maps to learn segmentation from; it takes data of kind semantic_folder, "
                "street, or coco with masks"
            )

    def view(self, draw: Draw, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        settings = self.recipe.augmentation
        image, label = self._crop(draw(), size, rng)
        if settings.rare_classes and rng.random() < settings.paste_probability and (label != IGNORE).any():
            donor_image, donor_label = self._crop(draw(labelled_only=True), size, rng)
            count = rng.integers(1, len(settings.rare_classes) + 1)
            classes = tuple(rng.choice(settings.rare_classes, count, replace=False).tolist())
            image, label = paste_classes(image, label, donor_image, donor_label, classes)
        return image, label

    def _crop(self, sample: Sample, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        settings, deployed = self.recipe.augmentation, self.recipe.input
        unit = fit_scale(sample.image.shape[:2], (deployed.height, deployed.width)) if settings.fit else 1.0
        return crop_sample(sample, size, settings, rng, unit)

    def collate(self, truths: Sequence[np.ndarray]) -> Tensor:
        """(B, H, W) uint8, `IGNORE` where void."""
        return torch.from_numpy(np.stack(truths))

    def prepare(self, datasets: Sequence[Dataset], classes: Sequence[ClassInfo], device: torch.device) -> None:
        super().prepare(datasets, classes, device)
        settings = self.recipe.loss
        counts = pixel_counts(datasets, [d.share for d in self.recipe.data], len(classes))
        absent = [c.name for c, count in zip(classes, counts.tolist(), strict=True) if not count]
        if absent and len(absent) >= len(classes) - 1:
            raise DatasetError(
                f"no label of the data has {' or '.join(absent)}: there is nothing to tell apart. Write the ids of "
                "classes.txt into the label maps; 255 is void"
            )
        if absent:
            log.warning("not learned, for no label of the data has it: %s", ", ".join(absent))
        weights = class_weights(counts, settings.weight_power)
        groups = common_groups(datasets, classes)
        self._loss = SegmentationLoss(weights, settings.label_smoothing, settings.lovasz, groups).to(device)

    def losses(self, predictions: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {_TERM: self._loss(predictions, batch.labels.to(self.device))}

    def pixel_weights(self, batch: Batch) -> Tensor:
        labels = batch.labels.to(self.device).long()
        weights = self._loss.weights.new_zeros(IGNORE + 1)
        for first, known in ((0, self._loss.weights), (FIRST_GROUP, self._loss.group_weights)):
            weights[first : first + len(known)] = known
        return weights[labels]

    def class_bias(
        self, model: TrainedModel, datasets: Sequence[Dataset], settings: ClassBiasRecipe, dtype: torch.dtype | None
    ) -> Tensor:
        # A class of several groups counts as of the first.
        group_of = {c: number for number, group in reversed([*enumerate(self._loss.groups)]) for c in group}
        groups = torch.tensor([group_of.get(c, len(group_of)) for c in range(len(self._loss.weights))])
        found = []
        for data in datasets:
            if data.classes or data.groups:
                part = data.subset(np.linspace(0, len(data) - 1, min(settings.images, len(data))).astype(int).tolist())
                known = groups if data.groups else None
                found.append(scores_of(model, part, self.recipe.input, settings.ratios, known, self.device, dtype))
        return tuned_bias(found)

    def match_dense(self, predictions: Tensor, dense: Tensor) -> Tensor:
        return self_distillation(predictions, dense, self._loss.weights)

    def scores(
        self, model: TrainedModel, dataset: Dataset, ratios: Sequence[float], dtype: torch.dtype | None
    ) -> dict[float, float]:
        return miou_at(model, dataset, self.recipe.input, ratios, self.device, dtype)

    def agreement(
        self, model: TrainedModel, dataset: Dataset, ratios: Sequence[float], dtype: torch.dtype | None
    ) -> dict[float, float]:
        return label_agreement_at(model, dataset, self.recipe.input, ratios, self.device, dtype)


def common_groups(datasets: Sequence[Dataset], classes: Sequence[ClassInfo]) -> list[list[int]]:
    """Class ids of each group of the data whose labels are groups; none where there is no such data.

    Raises:
        DatasetError: such data sets have different groups, or a group names a class that there is not.
    """
    names = [c.name for c in classes]
    grouped = [d for d in datasets if d.groups]
    for data in grouped:
        if data.groups != grouped[0].groups:
            raise DatasetError(f"{data.name} has other groups than {grouped[0].name}; give them the same, in one order")
        if unknown := [name for group in data.groups for name in group if name not in names]:
            raise DatasetError(f"groups of {data.name} name {unknown}; the classes are {', '.join(names)}")
    return [[names.index(name) for name in group] for group in grouped[0].groups] if grouped else []


def pixel_counts(datasets: Sequence[Dataset], shares: Sequence[float], num_classes: int) -> Tensor:
    """Labelled pixels per class, each data set brought to its share of the draws; (K,) float64."""
    total = np.zeros(num_classes)
    for dataset, share in zip(datasets, shares, strict=True):
        if not dataset.classes:
            continue
        counts = np.zeros(256)
        for index in range(len(dataset)):
            counts += np.bincount(dataset[index].require_label().ravel(), minlength=256)
        counts = counts[:num_classes]
        total += share * counts / max(counts.sum(), 1)
    return torch.from_numpy(total)
