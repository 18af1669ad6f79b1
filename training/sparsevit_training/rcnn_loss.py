"""The losses of Mask R-CNN (He et al.), with mmdetection's matching and weights: of the anchors, of the regions that
the box head looks at, and of the masks of those that show an object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsevit_exporter.heads.boxes import has_area
from sparsevit_exporter.heads.roi import MASK_SIZE, STDS, RoIHead

from .rcnn_targets import (
    ANCHOR_SHARE,
    ANCHORS,
    REGION_SHARE,
    REGIONS,
    Sampling,
    encode_boxes,
    masks_within,
    match,
    sample,
)

#: Stds of the anchors' offsets.
_PLAIN = (1.0, 1.0, 1.0, 1.0)


class Truth(NamedTuple):
    """The objects of one image.

    Attributes:
        boxes: (M, 4) float32 xyxy in pixels.
        classes: (M,) int64.
        masks: (M, H, W) bool.
    """

    boxes: Tensor
    classes: Tensor
    masks: Tensor


class Anchors(NamedTuple):
    """The anchors of B images, and what the region proposal network says of them.

    Attributes:
        boxes: (A, 4) float32 xyxy in pixels.
        logits: (B, A) float32, whether there is an object.
        deltas: (B, A, 4) float32, where its box is.
    """

    boxes: Tensor
    logits: Tensor
    deltas: Tensor


class Regions(NamedTuple):
    """Regions of one image that the heads are taught on.

    Attributes:
        boxes: (N, 4).
        shows: (n,) int64, the objects that the first n of them show; the others show none.
    """

    boxes: Tensor
    shows: Tensor


def proposal_losses(anchors: Anchors, truths: Sequence[Truth], count: int) -> tuple[Tensor, Tensor]:
    """Of the region proposal network: whether there is an object, and where its box is, scalar float32 each.

    Args:
        anchors: of B images.
        truths: of the images.
        count: anchors taken of each image.
    """
    boxes, logits, deltas = anchors
    scored, placed, taken = [], [], 0
    for i, truth in enumerate(truths):
        owner = match(boxes, truth.boxes, ANCHORS)
        positive, negative = sample(owner, Sampling(count, ANCHOR_SHARE))
        chosen = torch.cat([positive, negative])
        wanted = torch.zeros_like(logits[i, chosen])
        wanted[: len(positive)] = 1.0
        scored.append(F.binary_cross_entropy_with_logits(logits[i, chosen], wanted, reduction="sum"))
        offsets = encode_boxes(boxes[positive], truth.boxes[owner[positive]], _PLAIN)
        placed.append((deltas[i, positive] - offsets).abs().sum())
        taken += len(chosen)
    return torch.stack(scored).sum() / max(taken, 1), torch.stack(placed).sum() / max(taken, 1)


@torch.no_grad()
def choose_regions(boxes: Tensor, scores: Tensor, truths: Sequence[Truth], count: int) -> list[Regions]:
    """Regions of each image, some of its proposals and of its objects.

    Args:
        boxes, scores: (B, P, 4) and (B, P), proposals of B images; rows past the last have a score below 0.
        truths: of the images.
        count: regions of each image, at most.
    """
    regions = []
    for found, score, truth in zip(boxes, scores, truths, strict=True):
        candidates = torch.cat([truth.boxes, found[score >= 0]])
        candidates = candidates[has_area(candidates)]
        owner = match(candidates, truth.boxes, REGIONS)
        positive, negative = sample(owner, Sampling(count, REGION_SHARE))
        regions.append(Regions(candidates[torch.cat([positive, negative])], owner[positive]))
    return regions


def region_losses(
    heads: RoIHead, levels: Sequence[Tensor], truths: Sequence[Truth], regions: Sequence[Regions]
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the box head the classes and the boxes, and of the mask head the masks, scalar float32 each.

    Args:
        heads: both.
        levels: of the pyramid, of B images: (B, C, H, W).
        truths, regions: of the images.
    """
    classes = heads.bbox_head.num_classes
    logits, deltas = heads.bbox_head(levels, _padded([r.boxes for r in regions]))
    classified, placed, shaped, taken = [], [], [], 0
    shown = _padded([r.boxes[: len(r.shows)] for r in regions])  # (B, P, 4)
    kinds = [truth.classes[r.shows] for truth, r in zip(truths, regions, strict=True)]
    masks = heads.mask_head(levels, shown, _padded(kinds)) if shown.shape[1] else None
    for i, (truth, region) in enumerate(zip(truths, regions, strict=True)):
        count = len(region.shows)
        wanted = torch.full((len(region.boxes),), classes, device=logits.device)  # background is the last class
        wanted[:count] = kinds[i]
        classified.append(F.cross_entropy(logits[i, : len(wanted)], wanted, reduction="sum"))
        offsets = encode_boxes(region.boxes[:count], truth.boxes[region.shows], STDS)
        own = deltas[i, torch.arange(count, device=deltas.device), kinds[i]]
        placed.append((own - offsets).abs().sum())
        taken += len(wanted)
        if masks is not None:
            inside = masks_within(truth.masks, region.shows, region.boxes[:count], 2 * MASK_SIZE)
            shaped.append(F.binary_cross_entropy_with_logits(masks[i, :count], inside, reduction="none").mean((1, 2)))
    mask_loss = torch.cat(shaped).mean() if shaped else logits.new_zeros(())
    return torch.stack(classified).sum() / max(taken, 1), torch.stack(placed).sum() / max(taken, 1), mask_loss


def agreement(pruned: Anchors, dense: Anchors) -> Tensor:
    """Distance of a pruned pass to a dense one, by what the anchors say: divergence of the scores, and the offsets of
    those that the dense pass is sure of; scalar float32, 0 where both agree."""
    target = dense.logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(pruned.logits, target, reduction="none")
    floor = F.binary_cross_entropy(target, target, reduction="none")
    apart = (pruned.deltas - dense.deltas).abs().sum(-1)
    return ((entropy - floor).sum() + (apart * target).sum()) / target.sum().clamp(min=1.0)


def _padded(parts: Sequence[Tensor]) -> Tensor:
    """Tensors of different lengths in one, (B, longest, ...), zeros behind the shorter ones; a box of zeros is none."""
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
