"""Grows a detector on a pretrained YOLOX: before its first step it answers nearly as YOLOX does.

The front's maps enter the stages as they are, nothing is merged into them and no block changes them yet. Between the
stages and YOLOX's head stand norms that the head has never seen: its stems are fitted to them by least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsevit_exporter.backbone import SparseViT
from sparsevit_exporter.checkpoints.yolox import load_head
from sparsevit_exporter.heads.decoupled import DecoupledHead
from sparsevit_runtime.windows.geometry import PATCH_SIZE

from .importance import object_weights, pool

#: Distance from 0, in standard deviations, of each stage's channels: a norm over channels is then close to linear, so
#: that it does not take away how much there is at a location. Less in the last, whose windows often reach over the
#: border, where there is nothing, not even an offset.
OFFSETS = (2.0, 2.0, 2.0, 1.0)
#: Least and greatest scale of a channel.
_SCALES = (0.25, 4.0)
#: Score from which something is there.
_SURE = 0.3
#: Share of a feature's variance that counts as noise in a regression.
_RIDGE = 1e-4


@torch.no_grad()
def grow(
    backbone: SparseViT, head: DecoupledHead, weights: Path, classes: Sequence[int], images: Sequence[Tensor]
) -> list[float]:
    """Fills what stands behind a front that has its weights.

    Args:
        backbone: has a front, and as many channels in each stage as the front in its map.
        head: head with as many channels as YOLOX's.
        weights: ONNX file of YOLOX, that of the front.
        classes: YOLOX's class of each class.
        images: batches (B, 3, H, W), normalised, on which the norms' statistics and the stems are fitted.

    Returns:
        Share of the variance of YOLOX's stems that the fitted ones explain, for each level.

    Raises:
        CheckpointError: the file is not that of such a head.
    """
    load_head(head, weights, classes)
    _pass_through(backbone)
    _standardise(backbone, images)
    _rank_by_objects(backbone, head, images)
    return _fit_stems(backbone, head, images)


def _pass_through(backbone: SparseViT) -> None:
    """Stages take in the front's maps and nothing else."""
    front: Any = backbone.front
    nn.init.zeros_(backbone.patch_embed.norm.weight)
    nn.init.zeros_(backbone.patch_embed.norm.bias)
    for stage, projection in zip(backbone.stages, front.projections, strict=True):
        nn.init.dirac_(projection.layer[0].weight)
        if stage.downsample is not None:
            nn.init.zeros_(stage.downsample.reduction.weight)


def _standardise(backbone: SparseViT, images: Sequence[Tensor]) -> None:
    """Statistics of the projections' batch norms: means over the images."""
    front: Any = backbone.front
    norms = [projection.layer[1] for projection in front.projections]
    momenta = [norm.momentum for norm in norms]
    backbone.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for batch in images:
        for projection, feature_map in zip(front.projections, front(batch), strict=True):
            projection.layer(feature_map)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def _rank_by_objects(backbone: SparseViT, head: DecoupledHead, images: Sequence[Tensor]) -> None:
    """Lets windows score by what YOLOX finds in them.

    A window's score is the mean magnitude of its channels. Where each lies to one side of 0, that is linear in them:
    the offset's side and the scale are those of a regression of the objects' weights.
    """
    front: Any = backbone.front
    inputs: list[list[Tensor]] = [[] for _ in front.projections]
    goals: list[list[Tensor]] = [[] for _ in front.projections]
    for batch in images:
        originals = front(batch)
        raw = head(originals)
        sure = raw.logits.amax(-1).sigmoid() > _SURE  # (B, L)
        boxes = [found[chosen] for found, chosen in zip(raw.boxes, sure, strict=True)]
        weights = object_weights(boxes, batch.shape[2:]).unsqueeze(1)
        for number, (projection, original) in enumerate(zip(front.projections, originals, strict=True)):
            tokens = projection.layer(original)
            inputs[number].append(_rows(tokens))
            goals[number].append(_rows(pool(weights, PATCH_SIZE << number, tokens.permute(0, 2, 3, 1))))
    for number, projection in enumerate(front.projections):
        own, goal = torch.cat(inputs[number]), torch.cat(goals[number])
        found = _solve(own, goal)[0][:, 0].float()  # (C,)
        scale = found.abs() / found.abs().mean().clamp(min=1e-12)
        norm = projection.layer[1]
        norm.weight.copy_(scale.clamp(*_SCALES))
        norm.bias.copy_(torch.where(found < 0, -OFFSETS[number], OFFSETS[number]))


def _fit_stems(backbone: SparseViT, head: DecoupledHead, images: Sequence[Tensor]) -> list[float]:
    front: Any = backbone.front
    levels: Any = head.levels
    seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in levels]
    for batch in images:
        originals, maps = front(batch)[1:], backbone(batch)[1:]
        for pairs, level, original, own in zip(seen, levels, originals, maps, strict=True):
            wanted = level.stem[0](original)  # before its activation
            pairs.append((_rows(own), _rows(wanted)))
    explained = []
    for pairs, level in zip(seen, levels, strict=True):
        own, wanted = (torch.cat(part) for part in zip(*pairs, strict=True))
        solved, bias = _solve(own, wanted)
        left = (own @ solved + bias - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum()
        level.stem[0].weight.copy_(solved.T[..., None, None])
        level.stem[0].bias.copy_(bias)
        explained.append(1.0 - float(left))
    return explained


def _solve(own: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (C, S) and bias (S,) that bring rows (N, C) to (N, S), in float32, by ridge regression in float64."""
    centre, goal = own.mean(0).double(), wanted.mean(0).double()
    own, wanted = own.double() - centre, wanted.double() - goal
    gram = own.T @ own
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
    solved = torch.linalg.solve(gram, own.T @ wanted)
    return solved.float(), (goal - centre @ solved).float()


def _rows(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B*h*w, C)."""
    return maps.flatten(2).transpose(1, 2).flatten(0, 1)
