"""Boxes, classes and masks of objects, learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sparsevit_exporter.backbone import SparseViT
from sparsevit_exporter.heads.fpn import STRIDES
from sparsevit_exporter.tasks.instances import InstanceFeatures, InstanceModel
from sparsevit_runtime import Instances
from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.images.letterbox import Letterbox

from ..augmentation import crop_boxes, fit_scale
from ..average_precision import LEAST_SCORE, MOST_BOXES
from ..batch import Batch
from ..datasets import Boxes, ClassInfo, CocoInstances, Dataset
from ..models import TrainedModel
from ..monitor import outputs_of, precision_of
from ..rcnn_loss import Anchors, Truth, agreement, choose_regions, proposal_losses, region_losses
from .base import Draw, Objective, check_objects

#: Anchors taken of an image, as published.
_ANCHORS = 256
#: Width of the box head over that of the pyramid, as published.
_HIDDEN = 4
#: Images at once while training is watched.
_IMAGES = 4
#: Proposals and detections while training is watched; an exported file may have others.
_PROPOSALS, _DETECTIONS = 300, MOST_BOXES


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
        scored, placed = proposal_losses(_anchors(predictions), truths, _ANCHORS)
        with torch.no_grad():
            proposals = predictions.proposals(_at_most(settings.proposals, predictions))
        regions = choose_regions(*proposals, truths, settings.regions)
        found = (scored, placed, *region_losses(predictions.network.roi_head, predictions.levels, truths, regions))
        return dict(zip(self.terms, found, strict=True))

    def match_dense(self, predictions: InstanceFeatures, dense: InstanceFeatures) -> Tensor:
        return agreement(_anchors(predictions), _anchors(dense))

    def scores(
        self, model: TrainedModel, dataset: Dataset, ratios: Sequence[float], dtype: torch.dtype | None
    ) -> dict[float, float]:
        masks = cast(CocoInstances, dataset)  # nothing else passes `check`

        def records_at(ratio: float) -> Iterator[dict[str, Any]]:
            outputs = outputs_of(model, masks, self.recipe.input, ratio, self.device, dtype, _IMAGES)
            for indices, _, letterboxes, seen in outputs:
                yield from instance_records(seen, masks, indices, letterboxes)

        return precision_of(records_at, masks, ratios, "segm")


def instance_records(
    seen: InstanceFeatures, dataset: CocoInstances, indices: Sequence[int], letterboxes: Sequence[Letterbox]
) -> list[dict[str, Any]]:
    """COCO records, with masks, of what Mask R-CNN finds in a batch of images.

    Args:
        seen: features of the images.
        dataset: data set that they are of.
        indices, letterboxes: of the images.
    """
    count = _at_most(_PROPOSALS, seen)
    chosen = seen.detections(count, min(_DETECTIONS, count * len(dataset.classes)), LEAST_SCORE)
    answers = [part.float().cpu().numpy() for part in (*chosen, seen.masks(*chosen))]
    records = []
    for i, (index, letterbox) in enumerate(zip(indices, letterboxes, strict=True)):
        boxes, scores, classes, grids = (part[i] for part in answers)
        real = scores > 0
        answer = Instances(
            xyxy=letterbox.boxes_to_frame(boxes[real]),
            confidence=scores[real],
            class_id=classes[real].astype(np.int64),
            names=tuple(c.name for c in dataset.classes),
            image_wh=letterbox.frame_wh,
            grids=grids[real],
            grid_xyxy=letterbox.boxes_to_frame(boxes[real], clip=False),
        )
        records += answer.to_coco(dataset.image_ids[index])
    return records


def _anchors(seen: InstanceFeatures) -> Anchors:
    """All anchors of the images, and what was said of them."""
    sizes = [(level.shape[2], level.shape[3]) for level in seen.levels]
    boxes = torch.cat(seen.network.rpn_head.anchors(sizes, seen.levels[0].device))
    return Anchors(boxes, torch.cat(list(seen.logits), 1), torch.cat(list(seen.deltas), 1))


def _at_most(count: int, seen: InstanceFeatures) -> int:
    """As many proposals, or as there can be."""
    return min(count, seen.candidates()[1][0].numel())
