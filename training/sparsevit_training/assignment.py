"""Which location answers for which object: task-aligned assignment (Feng et al., "TOOD", ICCV 2021, section 3.3).

With `count` 1 it is the one-to-one matching of Wang et al., "YOLOv10" (NeurIPS 2024, section 3.1); with more, the
one-to-many teaching signal of the auxiliary branch. Both use the same alignment, so that the two agree on what is best.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Exponents of score and overlap in the alignment ``score ** ALPHA * iou ** BETA``.
ALPHA, BETA = 0.5, 6.0
#: A location's centre may lie this many strides from the centre of a small object, even outside it.
_REACH = 0.75


class Assignment(NamedTuple):
    """Targets of one image over its L locations.

    Attributes:
        scores: (L, K) float32; the aligned location of each object has its overlap, others less, background 0.
        boxes: (L, 4) xyxy of the object a location answers for; anything where it answers for none.
        weights: (L,) float32, the target score of that object; 0 for background.
    """

    scores: Tensor
    boxes: Tensor
    weights: Tensor


@torch.no_grad()
def assign(
    logits: Tensor, boxes: Tensor, locations: Tensor, strides: Tensor, truth: Tensor, classes: Tensor, count: int
) -> Assignment:
    """Assigns objects to locations by what the network says of them now.

    Args:
        logits: (L, K) class logits.
        boxes: (L, 4) predicted xyxy in pixels.
        locations: (L, 2) centres x, y in pixels.
        strides: (L,) pixels per location.
        truth: (N, 4) float32 xyxy.
        classes: (N,) int64.
        count: locations per object, at most; one with several candidates takes the object it overlaps most.
    """
    scores = torch.zeros_like(logits, dtype=torch.float32)
    if not len(truth):
        return Assignment(scores, boxes.float(), scores.new_zeros(len(logits)))
    overlap = pairwise_iou(truth, boxes.float())  # (N, L)
    middle, half = (truth[:, :2] + truth[:, 2:]) / 2, (truth[:, 2:] - truth[:, :2]) / 2
    reach = torch.maximum(half[:, None], _REACH * strides[None, :, None])  # (N, L, 2)
    near = ((locations[None] - middle[:, None]).abs() < reach).all(-1)
    aligned = logits.float().sigmoid()[:, classes].T ** ALPHA * overlap**BETA * near  # (N, L)

    best, candidates = aligned.topk(min(count, aligned.shape[1]), dim=1)
    chosen = torch.zeros_like(near).scatter_(1, candidates, best > 0)
    owner = torch.where(chosen, overlap, -1.0).argmax(0)  # (L,)
    chosen &= torch.arange(len(truth), device=truth.device)[:, None] == owner

    aligned = aligned * chosen
    peak = aligned.amax(1, keepdim=True).clamp(min=1e-12)
    reached = (overlap * chosen).amax(1, keepdim=True)
    weights = (aligned / peak * reached).amax(0)  # (L,)
    scores[torch.arange(len(scores), device=scores.device), classes[owner]] = weights
    return Assignment(scores, truth[owner], weights)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of `a` (N, 4) with every one of `b` (M, 4), xyxy; (N, M)."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    union = _area(a)[:, None] + _area(b)[None] - inter
    return inter / union.clamp(min=1e-9)


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU of corresponding boxes (Rezatofighi et al., CVPR 2019), xyxy (..., 4); (...), -1 to 1."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    union = (_area(a) + _area(b) - inter).clamp(min=1e-9)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1).clamp(min=1e-9)
    return inter / union - (hull - union) / hull


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
