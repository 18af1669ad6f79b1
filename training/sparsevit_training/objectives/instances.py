"""Boxes, classes and masks of objects, learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sparsevit_exporter.backbone import SparseViT
from sparsevit_exporter.heads.fpn import STRIDES
from sparsevit_exporter.instances import InstanceFeatures, InstanceModel
from sparsevit_runtime.errors import DatasetError

from ..augmentation import crop_boxes, fit_scale
from ..batch import Batch
from ..datasets import Boxes, ClassInfo, CocoInstances, Dataset
from ..models import TrainedModel
from ..monitor import mask_precision_at
from ..rcnn_loss import Truth, agreement, choose_regions, proposal_losses, region_losses
from .base import Draw, Objective, check_objects

#: Anchors taken of an image, as published.
_ANCHORS = 256
#: Width of the box head over that of the pyramid, as published.
_HIDDEN = 4


class InstancesObjective(Objective):
    """Mask R-CNN's five losses."""

    network = InstanceModel
    terms = ("rpn_score", "rpn_box", "class", "box", "mask")

    def build(self, backbone: SparseViT, num_classes: int) -> InstanceModel:
        channels = self.recipe.model.head_channels
        return InstanceModel(backbone, num_classes, channels, _HIDDEN * channels)

    def check(self, dataset: Dataset) -> None:
        if dataset.classes and not isinstance(dataset, CocoInstances):
            raise DatasetError(f"{dataset.name} has no masks to learn instances from; it takes data of kind coco")

    def prepare(self, datasets: Sequence[Dataset], classes: Sequence[ClassInfo], device: torch.device) -> None:
        super().prepare(datasets, classes, device)
        check_objects(datasets, classes)

    def view(self, draw: Draw, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, Boxes | None]:
        settings, deployed = self.recipe.augmentation, self.recipe.input
        sample = draw(labelled_only=True)
        unit = fit_scale(sample.image.shape[:2], (deployed.height, deployed.width)) if settings.fit else 1.0
        return crop_boxes(sample, size, settings, rng, unit)

    def collate(self, truths: Sequence[Boxes | None]) -> list[Truth]:
        found = []
        for truth in truths:
            assert truth is not None and truth.masks is not None  # labelled data alone is drawn, and checked
            masks = torch.from_numpy(np.stack(truth.masks)) if len(truth) else torch.zeros((0, 1, 1), dtype=torch.bool)
            found.append(Truth(torch.from_numpy(truth.xyxy), torch.from_numpy(truth.classes), masks))
        return found

    def predict(self, model: Any, maps: Sequence[Tensor]) -> InstanceFeatures:
        height, width = maps[0].shape[2:]
        seen: InstanceFeatures = model.see(maps, (height * STRIDES[0], width * STRIDES[0]))
        # Regions are looked at in the loss, which is computed in float32.
        return replace(seen, levels=[level.float() for level in seen.levels])

    def losses(self, predictions: InstanceFeatures, batch: Batch) -> dict[str, Tensor]:
        settings = self.recipe.loss
        truths = [Truth(*(part.to(self.device) for part in truth)) for truth in batch.labels]
        scored, placed = proposal_losses(predictions, truths, _ANCHORS)
        regions = choose_regions(predictions, truths, settings.proposals, settings.regions)
        found = (scored, placed, *region_losses(predictions, truths, regions))
        return dict(zip(self.terms, found, strict=True))

    def match_dense(self, predictions: InstanceFeatures, dense: InstanceFeatures) -> Tensor:
        return agreement(predictions, dense)

    def scores(
        self, model: TrainedModel, dataset: Dataset, ratios: Sequence[float], dtype: torch.dtype | None
    ) -> dict[float, float]:
        masks = cast(CocoInstances, dataset)  # nothing else passes `check`
        return mask_precision_at(model, masks, self.recipe.input, ratios, self.device, dtype)
