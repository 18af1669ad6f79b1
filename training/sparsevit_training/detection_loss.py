"""Loss of the dual-assignment detector, and the distillation of a teacher's dense answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsevit_exporter.heads.detection import STRIDES, RawDetections, location_centres

from .assignment import assign, generalized_iou, stack_objects

#: Locations per object in the one-to-many branch (YOLOv10's setting).
ONE_TO_MANY = 10


def locations_of(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres (L, 2) and strides (L,), float32, of all locations at an input size, fine to coarse."""
    centres, strides = [], []
    for stride in STRIDES:
        x, y = location_centres(-(-height // stride), -(-width // stride), stride)
        centres.append(torch.stack([x, y], -1))
        strides.append(torch.full((len(x),), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def assigned_loss(
    raw: RawDetections,
    truths: Sequence[tuple[Tensor, Tensor] | None],
    locations: Tensor,
    strides: Tensor,
    count: int,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy against the assigned scores, and ``1 - GIoU`` of the assigned boxes weighted by them.

    Both are divided by the sum of assigned scores over the batch (Feng et al., "TOOD", eq. 7 and 8, without focal
    weights, as YOLOv8 and YOLOv10 have it).

    Args:
        raw: raw of one branch.
        truths: one pair per image: boxes (N, 4) and classes (N,), on any device; None for an image that is not
            annotated.
        locations, strides: see `locations_of`.
        count: locations per object.

    Returns:
        Class term and box term, scalar float32; 0 with a gradient where no image is annotated.
    """
    annotated = {i: truth for i, truth in enumerate(truths) if truth is not None}
    known = list(annotated)
    if not known:
        zero = raw.logits.sum() * 0.0
        return zero, zero
    logits, boxes = raw.logits[known].float(), raw.boxes[known].float()  # (B', L, K), (B', L, 4)
    objects = stack_objects(list(annotated.values()), logits.device)
    scores, targets, weights = assign(logits, boxes, locations, strides, objects, count)
    total = weights.sum().clamp(min=1.0)
    classified = F.binary_cross_entropy_with_logits(logits, scores, reduction="sum") / total
    answering = weights > 0
    overlap = generalized_iou(boxes[answering], targets[answering])
    return classified, ((1 - overlap) * weights[answering]).sum() / total


def answer_distillation(raw: RawDetections, scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Pulls every location towards what a teacher answers there.

    Scores by quality focal loss (Li et al., "Generalized Focal Loss", NeurIPS 2020, eq. 2 with beta 2), boxes by GIoU
    weighted with the teacher's score.

    Args:
        raw: raw of the branch taught.
        scores: (B, L, K) the teacher's, 0..1.
        boxes: (B, L, 4) the teacher's, xyxy in pixels.

    Returns:
        Class term and box term, scalar float32.
    """
    logits = raw.logits.float()
    focus = (logits.sigmoid() - scores).abs().square()
    entropy = F.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    certainty = scores.amax(-1)  # (B, L)
    total = certainty.sum().clamp(min=1.0)
    sure = certainty > 0.05
    overlap = generalized_iou(raw.boxes.float()[sure], boxes[sure])
    return (focus * entropy).sum() / total, ((1 - overlap) * certainty[sure]).sum() / total


def agreement(raw: RawDetections, dense: RawDetections) -> tuple[Tensor, Tensor]:
    """Distance of a pruned pass to a dense one: divergence of the scores, per confident location; boxes likewise.

    Args:
        raw: raw of the pruned pass.
        dense: dense of the dense pass, without gradient.

    Returns:
        Class term and box term, scalar float32; 0 where both agree.
    """
    target = dense.logits.float().sigmoid()
    logits = raw.logits.float()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    floor = F.binary_cross_entropy(target, target, reduction="none")
    certainty = target.amax(-1)
    total = certainty.sum().clamp(min=1.0)
    apart = (1 - generalized_iou(raw.boxes.float(), dense.boxes.float())) * certainty
    return (entropy - floor).sum() / total, apart.sum() / total
