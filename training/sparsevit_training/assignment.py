"""Which location answers for which object: task-aligned assignment (Feng et al., "TOOD", ICCV 2021, section 3.3).

With `count` 1 it is the one-to-one matching of Wang et al., "YOLOv10" (NeurIPS 2024, section 3.1); with more, the
one-to-many teaching signal of the auxiliary branch. Both use the same alignment, so that the two agree on what is best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

#: Exponents of score and overlap in the alignment ``score ** ALPHA * iou ** BETA``.
ALPHA, BETA = 0.5, 6.0
#: A location's centre may lie this many strides from the centre of a small object, even outside it.
_REACH = 0.75


class Assignment(NamedTuple):
    """Targets of B images over their L locations.

    Attributes:
        scores: (B, L, K) float32; the aligned location of each object has its overlap, others less, background 0.
        boxes: (B, L, 4) xyxy of the object a location answers for; anything where it answers for none.
        weights: (B, L) float32, the target score of that object; 0 for background.
    """

    scores: Tensor
    boxes: Tensor
    weights: Tensor


class Objects(NamedTuple):
    """The truth of B images, filled up to N objects each.

    Attributes:
        boxes: (B, N, 4) float32 xyxy in pixels.
        classes: (B, N) int64.
        exist: (B, N) bool; False for what fills up.
    """

    boxes: Tensor
    classes: Tensor
    exist: Tensor


def stack_objects(truths: Sequence[tuple[Tensor, Tensor]], device: torch.device) -> Objects:
    """Stacks per-image boxes (N, 4) and classes (N,), each with its own N; at least one place per image."""
    boxes = pad_sequence([boxes.float() for boxes, _ in truths], batch_first=True)
    classes = pad_sequence([classes for _, classes in truths], batch_first=True)
    exist = pad_sequence([torch.ones_like(classes, dtype=torch.bool) for _, classes in truths], batch_first=True)
    if not exist.shape[1]:
        boxes, classes, exist = boxes.new_zeros(len(truths), 1, 4), F.pad(classes, (0, 1)), F.pad(exist, (0, 1))
    return Objects(boxes.to(device), classes.to(device), exist.to(device))


@torch.no_grad()
def assign(
    logits: Tensor, boxes: Tensor, locations: Tensor, strides: Tensor, objects: Objects, count: int
) -> Assignment:
    """Assigns objects to locations by what the network says of them now.

    Args:
        logits: (B, L, K) class logits.
        boxes: (B, L, 4) predicted xyxy in pixels.
        locations: (L, 2) centres x, y in pixels.
        strides: (L,) pixels per location.
        objects: objects of the B images.
        count: locations per object, at most; one with several candidates takes the object it overlaps most.
    """
    truth, classes, exist = objects
    overlap = pairwise_iou(truth, boxes.float())  # (B, N, L)
    middle, half = (truth[..., :2] + truth[..., 2:]) / 2, (truth[..., 2:] - truth[..., :2]) / 2
    reach = torch.maximum(half[:, :, None], _REACH * strides[:, None])  # (B, N, L, 2)
    near = ((locations - middle[:, :, None]).abs() < reach).all(-1) & exist[..., None]
    scored = logits.float().sigmoid().transpose(1, 2)  # (B, K, L)
    scored = scored.gather(1, classes[..., None].expand_as(overlap))  # (B, N, L)
    aligned = scored**ALPHA * overlap**BETA * near

    best, candidates = aligned.topk(min(count, aligned.shape[2]), dim=2)
    chosen = torch.zeros_like(near).scatter_(2, candidates, best > 0)
    owner = torch.where(chosen, overlap, -1.0).argmax(1)  # (B, L)
    chosen &= torch.arange(truth.shape[1], device=truth.device)[:, None] == owner[:, None]

    aligned = aligned * chosen
    peak = aligned.amax(2, keepdim=True).clamp(min=1e-12)
    reached = (overlap * chosen).amax(2, keepdim=True)
    weights = (aligned / peak * reached).amax(1)  # (B, L)
    scores = torch.zeros_like(logits, dtype=torch.float32)
    scores.scatter_(2, classes.gather(1, owner)[..., None], weights[..., None])
    return Assignment(scores, truth.gather(1, owner[..., None].expand(-1, -1, 4)), weights)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of `a` (..., N, 4) with every one of `b` (..., M, 4), xyxy; (..., N, M)."""
    low = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    union = _area(a)[..., :, None] + _area(b)[..., None, :] - inter
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
