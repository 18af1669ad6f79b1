"""Teaches the windows' scores what matters: a pruned pass then spends its windows where the loss is decided.

SparseViT ranks windows by activation magnitude. No loss of a task asks that to follow importance, for choosing windows
has no gradient, though it is free to: every block normalises its input first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsevit_exporter import windows
from sparsevit_exporter.backbone import SparseViT
from sparsevit_runtime.windows.geometry import PATCH_SIZE


@contextmanager
def stage_inputs(backbone: SparseViT) -> Iterator[list[Tensor]]:
    """Collects what the stages are given, (B, H, W, C) each, of the forward pass made inside."""
    found: list[Tensor] = []
    stages: Any = backbone.stages
    hooks = [
        stage.blocks[0].register_forward_pre_hook(lambda _, arguments: found.append(arguments[0])) for stage in stages
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def importance_loss(
    inputs: Sequence[Tensor],
    pixel_weights: Tensor,
    window_size: int,
    depths: Sequence[int],
    keep: Sequence[int] | None = None,
    passed_over: float = 0.0,
) -> Tensor:
    """1 less the correlation, over an image's windows, of their scores with the weight of their pixels.

    Stages that all follow the same weights prune the same places, and what no stage computes is poorly understood.
    `passed_over` has later stages make up for earlier ones.

    Args:
        inputs: (B, H, W, C) of each stage, see `stage_inputs`.
        pixel_weights: (B, h, w) float32, not negative: how much each pixel matters. Images whose windows weigh
            all alike say nothing and do not count.
        window_size: tokens.
        depths: blocks per stage; those of odd index are shifted.
        keep: windows per block pair of the forward pass; None where it was dense.
        passed_over: a pixel weighs 1 plus this times the share of earlier stages' blocks that did not compute it.

    Returns:
        Scalar float32 in 0..2, mean over images, stages and window layouts; 0 where no image counts.
    """
    weights = pool(pixel_weights.unsqueeze(1), PATCH_SIZE, inputs[0])  # (B, 1, H, W) of the first stage
    missed = torch.zeros_like(weights)  # sum over earlier stages of the share of blocks
    terms = []
    first_pair = 0
    for stage, (x, depth) in enumerate(zip(inputs, depths, strict=True)):
        wanted = pool(weights * (1 + passed_over * missed / max(stage, 1)), 2**stage, x).permute(0, 2, 3, 1)
        shifts = (0, window_size // 2)[:depth]
        scores = [windows.window_score(x, window_size, shift) for shift in shifts]  # (B, nW)
        for shift, score in zip(shifts, scores, strict=True):
            terms.append(_correlation(score, windows.window_score(wanted, window_size, shift)))
        pairs = -(-depth // 2)
        if keep is not None and passed_over and stage + 1 < len(inputs):  # nothing follows the last
            kept = keep[first_pair : first_pair + pairs]
            blocks = _computed(scores, kept, x.shape[1:3], window_size, depth)  # (B, H, W)
            fine = blocks.repeat_interleave(2**stage, 1).repeat_interleave(2**stage, 2)
            missed = missed + 1 - fine[:, None, : weights.shape[2], : weights.shape[3]]
        first_pair += pairs
    correlation = torch.stack(terms)  # (stages * layouts, B), NaN where undefined
    counts = ~correlation.isnan()
    if not counts.any():
        return torch.stack([x.float().sum() for x in inputs]).sum() * 0.0
    return 1.0 - torch.where(counts, correlation, 0.0).sum() / counts.sum()


def object_weights(boxes: Sequence[Tensor | None], size: Sequence[int]) -> Tensor:
    """How much pixels matter to a detector.

    An object's pixels weigh ``side ** -0.5``, side being the root of its area: its windows then weigh about alike (L2
    norm), that of a small one as much as each of a large one. What is of no object weighs nothing.

    Args:
        boxes: of each image (N, 4) xyxy in pixels; None for one that is not annotated.
        size: height and width in pixels.

    Returns:
        (B, height, width) float32.
    """
    height, width = size
    weights = torch.zeros(len(boxes), height, width)
    for plane, found in zip(weights, boxes, strict=True):
        for x0, y0, x1, y1 in [] if found is None else found.tolist():
            side = max((x1 - x0) * (y1 - y0), 1.0) ** 0.5
            rows = slice(max(math.floor(y0), 0), max(math.ceil(y1), 0))
            plane[rows, max(math.floor(x0), 0) : max(math.ceil(x1), 0)].clamp_(min=side**-0.5)
    return weights


def _computed(
    scores: Sequence[Tensor], keep: Sequence[int], map_hw: Sequence[int], window_size: int, depth: int
) -> Tensor:
    """Share of a stage's blocks that compute each token, (B, H, W); `scores` of both layouts, `keep` of its pairs."""
    ranks = [score.argsort(1, descending=True).argsort(1) for score in scores]
    height, width = map_hw
    computed = torch.zeros((), device=scores[0].device)
    for block in range(depth):
        parity = block % 2
        chosen = (ranks[parity] < keep[block // 2]).float()  # (B, nW)
        tokens = chosen[..., None, None].expand(-1, -1, window_size**2, 1)
        computed = computed + windows.window_reverse(tokens, height, width, window_size, parity * (window_size // 2))
    return computed.squeeze(-1) / depth


def pool(pixels: Tensor, stride: int, tokens: Tensor) -> Tensor:
    """Means of (B, 1, h, w) over squares of a stride, (B, 1, H, W) as the tokens (B, H, W, C); zeros fill the last."""
    height, width = tokens.shape[1:3]
    room = (0, width * stride - pixels.shape[3], 0, height * stride - pixels.shape[2])
    return F.avg_pool2d(F.pad(pixels, room), stride)


def _correlation(scores: Tensor, wanted: Tensor) -> Tensor:
    """Of two (B, N), row by row; NaN, without a gradient, where `wanted` does not vary."""
    scores, wanted = (v - v.mean(1, keepdim=True) for v in (scores, wanted))
    found = F.cosine_similarity(scores, wanted, dim=1, eps=1e-6)
    varies = wanted.abs().amax(1) > 1e-6
    return torch.where(varies, found, torch.full_like(found, torch.nan))
