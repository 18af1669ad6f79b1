"""What Mask R-CNN learns from: which boxes answer for which object, which of them are taken, and what they should say.

The matching, the samples and their numbers are mmdetection's for the published network; boxes are xyxy in pixels of the
input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .assignment import pairwise_iou

#: Boxes that answer for nothing, and boxes that are asked nothing.
NOTHING, UNASKED = -1, -2
#: Shape of an object without any width is not learned.
_LEAST_SIDE = 1e-3


class Overlaps(NamedTuple):
    """From which overlap on a box answers for an object, and below which for nothing; `best_from`: every object is
    answered for by the boxes that overlap it most, from this overlap on."""

    positive: float
    negative: float
    best_from: float


class Sampling(NamedTuple):
    """How many boxes of an image are taken, and which share of them may answer for an object."""

    boxes: int
    positive_share: float


#: Of the region proposal network, and of the box head.
ANCHORS, REGIONS = Overlaps(0.7, 0.3, 0.3), Overlaps(0.5, 0.5, 0.5)
ANCHOR_SHARE, REGION_SHARE = 0.5, 0.25


def match(boxes: Tensor, objects: Tensor, overlaps: Overlaps) -> Tensor:
    """The object that each box answers for.

    Args:
        boxes: (N, 4).
        objects: (M, 4).
        overlaps: from when on.

    Returns:
        (N,) int64 index into `objects`, or `NOTHING`, or `UNASKED`.
    """
    if not len(objects):
        return torch.full((len(boxes),), NOTHING, device=boxes.device)
    overlap = pairwise_iou(objects, boxes)  # (M, N)
    most, owner = overlap.max(0)
    owner = torch.where(most >= overlaps.positive, owner, UNASKED)
    owner = torch.where(most < overlaps.negative, NOTHING, owner)
    best = overlap.amax(1)
    for i in range(len(objects)):  # of two objects the later one, as mmdetection does
        if best[i] >= overlaps.best_from:
            owner[overlap[i] == best[i]] = i
    return owner


def sample(owner: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Some of the boxes, at random.

    Args:
        owner: (N,) as of `match`.
        sampling: how many.

    Returns:
        Indices of those that answer for an object, and of those that answer for nothing.
    """
    positive = _some((owner >= 0).nonzero().squeeze(1), int(sampling.boxes * sampling.positive_share))
    negative = _some((owner == NOTHING).nonzero().squeeze(1), sampling.boxes - len(positive))
    return positive, negative


def _some(indices: Tensor, count: int) -> Tensor:
    if len(indices) <= count:
        return indices
    return indices[torch.randperm(len(indices), device=indices.device)[:count]]


def encode_boxes(boxes: Tensor, targets: Tensor, stds: Sequence[float]) -> Tensor:
    """The offsets (N, 4) that `heads.boxes.decode_boxes` makes targets (N, 4) of; boxes (N, 4) have an area."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=_LEAST_SIDE)
    wanted = (targets[:, 2:] - targets[:, :2]).clamp(min=_LEAST_SIDE)
    shift = ((targets[:, :2] + targets[:, 2:]) - (boxes[:, :2] + boxes[:, 2:])) / 2 / sides
    return torch.cat([shift, (wanted / sides).log()], 1) / boxes.new_tensor(stds)


def masks_within(masks: Tensor, owner: Tensor, boxes: Tensor, side: int) -> Tensor:
    """The part of its object's mask that lies in each box.

    Args:
        masks: (M, H, W) bool, of the objects.
        owner: (N,) which of them each box is of.
        boxes: (N, 4).
        side: cells of a mask along each side.

    Returns:
        (N, side, side) float32, 0 or 1: whether at least half of a cell is of the object.
    """
    if not len(boxes):
        return boxes.new_zeros((0, side, side))
    height, width = masks.shape[1:]
    places = (torch.arange(2 * side, device=boxes.device) + 0.5) / (2 * side)  # four samples a cell
    x = boxes[:, :1] + places * (boxes[:, 2:3] - boxes[:, :1])  # (N, 2 * side) pixels
    y = boxes[:, 1:2] + places * (boxes[:, 3:] - boxes[:, 1:2])
    columns, rows = x.floor().long(), y.floor().long()
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    found = masks[owner[:, None, None], rows[:, :, None], columns[:, None]] & inside
    return (F.avg_pool2d(found[:, None].float(), 2)[:, 0] >= 0.5).float()
