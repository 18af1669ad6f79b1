"""A model's accuracy between steps, in PyTorch, along the deployed path; `evaluate` measures the exported file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from sparsevit_exporter.heads.detection import decode_detections
from sparsevit_exporter.heads.labels import decode_labels
from sparsevit_exporter.tasks.detection import NMS_IOU
from sparsevit_runtime import Detections
from sparsevit_runtime.images.letterbox import Letterbox
from sparsevit_runtime.runner import DEFAULT_THRESHOLD
from sparsevit_runtime.tasks.named_once import named_once
from sparsevit_runtime.windows.geometry import stage_geometries

from .average_precision import LEAST_SCORE, MOST_BOXES, Compared, average_precision
from .batch import normalize
from .box_agreement import box_agreement
from .datasets import CocoBoxes, Dataset, Sample
from .metrics import ConfusionMatrix
from .models import TrainedModel
from .plan_sampler import keep_of_ratios
from .recipe_parts import InputRecipe


@torch.no_grad()
def outputs_of(
    model: TrainedModel,
    dataset: Dataset,
    recipe: InputRecipe,
    ratio: float,
    device: torch.device,
    dtype: torch.dtype | None,
    batch: int,
) -> Iterator[tuple[list[int], list[Sample], list[Letterbox], Any]]:
    """Indices, samples, letterboxes and raw outputs, batch by batch, every block pruned by `ratio`."""
    backbone = model.backbone
    stages = stage_geometries(recipe.height, recipe.width, backbone.depths, backbone.window_size)
    keep = keep_of_ratios([[ratio] * s.pairs for s in stages], stages)
    input_hw = recipe.height, recipe.width
    for start in range(0, len(dataset), batch):
        indices = list(range(start, min(start + batch, len(dataset))))
        samples = [dataset[i] for i in indices]
        boxes = [Letterbox(s.image.shape[1::-1], input_hw) for s in samples]
        images = np.stack([box.apply(s.image) for box, s in zip(boxes, samples, strict=True)])
        inputs = normalize(torch.from_numpy(images).to(device), recipe.mean, recipe.std)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            yield indices, samples, boxes, model(inputs, keep=keep)


def confusion_at(
    model: TrainedModel,
    dataset: Dataset,
    recipe: InputRecipe,
    ratio: float,
    device: torch.device,
    dtype: torch.dtype | None,
    batch: int = 4,
) -> ConfusionMatrix:
    """Confusion matrix of a model on a labelled data set, every block pruned by `ratio`.

    Args:
        model: a segmenter in eval mode.
        dataset: labelled; frames are letterboxed into the deployed input, labels come back as from an exported file.
        recipe: input size and normalisation.
        ratio: share of windows pruned, everywhere.
        device: device of the model.
        dtype: type of autocast, None for float32.
        batch: images at once.
    """
    result = ConfusionMatrix(len(dataset.classes))
    for _, samples, boxes, logits in outputs_of(model, dataset, recipe, ratio, device, dtype, batch):
        label_hw = -(-recipe.height // 2), -(-recipe.width // 2)
        labels = decode_labels(logits.float(), 2, *label_hw).cpu().numpy()
        for sample, box, label in zip(samples, boxes, labels, strict=True):
            result.update(sample.require_label(), box.map_to_frame(label))
    return result


def miou_at(
    model: TrainedModel,
    dataset: Dataset,
    recipe: InputRecipe,
    ratios: Sequence[float],
    device: torch.device,
    dtype: torch.dtype | None,
) -> dict[float, float]:
    """mIoU (0..1) per uniform ratio; arguments as for `confusion_at`."""
    return {r: confusion_at(model, dataset, recipe, r, device, dtype).miou for r in ratios}


def average_precision_at(
    model: TrainedModel,
    dataset: CocoBoxes,
    recipe: InputRecipe,
    ratios: Sequence[float],
    device: torch.device,
    dtype: torch.dtype | None,
    batch: int = 4,
) -> dict[float, float]:
    """COCO AP (0..1) of a detector per uniform ratio; other arguments as for `confusion_at`."""

    def records_at(ratio: float) -> Iterator[dict[str, Any]]:
        for index, answer in detections_at(model, dataset, recipe, ratio, device, dtype, batch):
            yield from answer.to_coco(dataset.image_ids[index])

    return precision_of(records_at, dataset, ratios, "bbox")


def detections_at(
    model: TrainedModel,
    dataset: CocoBoxes,
    recipe: InputRecipe,
    ratio: float,
    device: torch.device,
    dtype: torch.dtype | None,
    batch: int = 4,
) -> Iterator[tuple[int, Detections]]:
    """Indices of images and what a detector finds in each; arguments as for `confusion_at`."""
    once = getattr(model, "once", True)
    for indices, _, letterboxes, raw in outputs_of(model, dataset, recipe, ratio, device, dtype, batch):
        count = min(MOST_BOXES if once else 3 * MOST_BOXES, raw.logits.shape[1])
        decoded = decode_detections(raw, count, recipe.height, recipe.width)
        for index, letterbox, boxes, scores, classes in zip(
            indices, letterboxes, *(d.cpu().numpy() for d in decoded), strict=True
        ):
            chosen = scores >= LEAST_SCORE
            if not once:
                chosen &= named_once(boxes, classes, chosen, NMS_IOU)
            yield (
                index,
                Detections(
                    xyxy=letterbox.boxes_to_frame(boxes[chosen]),
                    confidence=scores[chosen],
                    class_id=classes[chosen],
                    names=tuple(c.name for c in dataset.classes),
                    image_wh=letterbox.frame_wh,
                ),
            )


def box_agreement_at(
    model: TrainedModel,
    dataset: CocoBoxes,
    recipe: InputRecipe,
    ratios: Sequence[float],
    device: torch.device,
    dtype: torch.dtype | None,
    batch: int = 4,
) -> dict[float, float]:
    """How far a detector finds what it finds in a dense pass, `box_agreement` over all images; as `confusion_at`."""

    def found(ratio: float) -> list[Detections]:
        answers = detections_at(model, dataset, recipe, ratio, device, dtype, batch)
        return [answer[answer.confidence >= DEFAULT_THRESHOLD] for _, answer in answers]

    dense = found(0.0)
    return {ratio: box_agreement(found(ratio) if ratio else dense, dense) for ratio in ratios}


def label_agreement_at(
    model: TrainedModel,
    dataset: Dataset,
    recipe: InputRecipe,
    ratios: Sequence[float],
    device: torch.device,
    dtype: torch.dtype | None,
    batch: int = 4,
) -> dict[float, float]:
    """Share of the pixels, borders too, that a segmenter labels as in a dense pass; arguments as for `confusion_at`."""

    def labels(ratio: float) -> list[np.ndarray]:
        outputs = outputs_of(model, dataset, recipe, ratio, device, dtype, batch)
        return [logits.argmax(1).to(torch.uint8).cpu().numpy() for *_, logits in outputs]

    dense = labels(0.0)

    def alike(ratio: float) -> float:
        pairs = zip(labels(ratio) if ratio else dense, dense, strict=True)
        return float(np.concatenate([(a == b).ravel() for a, b in pairs]).mean())

    return {ratio: alike(ratio) for ratio in ratios}


def precision_of(
    records_at: Callable[[float], Iterator[dict[str, Any]]],
    dataset: CocoBoxes,
    ratios: Sequence[float],
    compared: Compared,
) -> dict[float, float]:
    """COCO AP (0..1) per uniform ratio.

    Args:
        records_at: what is found at a ratio, in COCO's results format.
        dataset: data that they are of.
        ratios: shares of windows pruned.
        compared: what IoU is computed of.
    """
    return {
        ratio: average_precision(dataset.document, list(records_at(ratio)), dataset.image_ids, compared=compared).ap
        for ratio in ratios
    }
