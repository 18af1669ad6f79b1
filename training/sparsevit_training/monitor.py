"""A model's accuracy between steps, in PyTorch, along the deployed path; `evaluate` measures the exported file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sparsevit_exporter.heads.segmentation import decode_labels
from sparsevit_exporter.networks import SegmentationModel
from sparsevit_runtime.geometry import stage_geometries
from sparsevit_runtime.letterbox import Letterbox

from .batches import normalize
from .datasets import Dataset
from .metrics import ConfusionMatrix
from .plan_sampler import keep_of_ratios
from .recipe import InputRecipe


@torch.no_grad()
def confusion_at(
    model: SegmentationModel,
    dataset: Dataset,
    recipe: InputRecipe,
    ratio: float,
    device: torch.device,
    dtype: torch.dtype | None,
    batch: int = 4,
) -> ConfusionMatrix:
    """Confusion matrix of a model on a labelled data set, every block pruned by `ratio`.

    Args:
        model: in eval mode.
        dataset: labelled; frames are letterboxed into the deployed input, labels come back as from an exported file.
        recipe: input size and normalisation.
        ratio: share of windows pruned, everywhere.
        device: of the model.
        dtype: of autocast, None for float32.
        batch: images at once.
    """
    backbone = model.backbone
    stages = stage_geometries(recipe.height, recipe.width, backbone.depths, backbone.window_size)
    keep = keep_of_ratios([[ratio] * s.pairs for s in stages], stages)
    result = ConfusionMatrix(len(dataset.classes))
    input_hw = recipe.height, recipe.width
    for start in range(0, len(dataset), batch):
        samples = [dataset[i] for i in range(start, min(start + batch, len(dataset)))]
        boxes = [Letterbox(s.image.shape[1::-1], input_hw) for s in samples]
        images = np.stack([box.apply(s.image) for box, s in zip(boxes, samples, strict=True)])
        inputs = normalize(images, recipe.mean, recipe.std).to(device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            logits = model(inputs, keep=keep).float()
        labels = decode_labels(logits, 2, -(-recipe.height // 2), -(-recipe.width // 2)).cpu().numpy()
        for sample, box, label in zip(samples, boxes, labels, strict=True):
            result.update(sample.label, box.map_to_frame(label))
    return result


def miou_at(
    model: SegmentationModel,
    dataset: Dataset,
    recipe: InputRecipe,
    ratios: Sequence[float],
    device: torch.device,
    dtype: torch.dtype | None,
) -> dict[float, float]:
    """mIoU (0..1) per uniform ratio; arguments as for `confusion_at`."""
    return {r: confusion_at(model, dataset, recipe, r, device, dtype).miou for r in ratios}
