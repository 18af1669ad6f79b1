"""Teaches the windows' scores what matters: a pruned pass then spends its windows where the loss is decided.

SparseViT ranks windows by activation magnitude. No loss of a task asks that to follow importance, for choosing windows
has no gradient, though it is free to: every block normalises its input first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsevit_exporter import windows
from sparsevit_exporter.backbone import SparseViT
from sparsevit_runtime.geometry import PATCH_SIZE


@contextmanager
def stage_inputs(backbone: SparseViT) -> Iterator[list[Tensor]]:
    """Collects what the stages are given, (B, H, W, C) each, of the forward pass made inside."""
    found: list[Tensor] = []
    hooks = [
        stage.blocks[0].register_forward_pre_hook(lambda _, arguments: found.append(arguments[0]))
        for stage in backbone.stages
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def importance_loss(inputs: Sequence[Tensor], pixel_weights: Tensor, window_size: int, shifts: Sequence[int]) -> Tensor:
    """1 less the correlation, over an image's windows, of their scores with the weight of their pixels.

    Args:
        inputs: (B, H, W, C) of each stage, see `stage_inputs`.
        pixel_weights: (B, h, w) float32, not negative: how much each pixel matters. Images whose pixels weigh all alike
            say nothing and do not count.
        window_size: tokens.
        shifts: window layouts that are scored.

    Returns:
        Scalar float32 in 0..2, mean over images, stages and layouts; 0 where no image counts.
    """
    weights = pixel_weights.unsqueeze(1)  # (B, 1, h, w)
    terms = []
    for stage, x in enumerate(inputs):
        height, width = x.shape[1:3]
        stride = PATCH_SIZE * 2**stage
        room = (0, width * stride - weights.shape[3], 0, height * stride - weights.shape[2])
        tokens = F.avg_pool2d(F.pad(weights, room), stride).permute(0, 2, 3, 1)  # (B, H, W, 1)
        for shift in shifts:
            wanted = windows.window_score(tokens, window_size, shift)  # (B, nW)
            terms.append(_correlation(windows.window_score(x, window_size, shift), wanted))
    correlation = torch.stack(terms)  # (stages * layouts, B), NaN where undefined
    counts = ~correlation.isnan()
    if not counts.any():
        return sum(x.float().sum() for x in inputs) * 0.0
    return 1.0 - torch.where(counts, correlation, 0.0).sum() / counts.sum()


def _correlation(scores: Tensor, wanted: Tensor) -> Tensor:
    """Of two (B, N), row by row; NaN, without a gradient, where `wanted` does not vary."""
    scores, wanted = (v - v.mean(1, keepdim=True) for v in (scores, wanted))
    found = F.cosine_similarity(scores, wanted, dim=1, eps=1e-6)
    varies = wanted.abs().amax(1) > 1e-6
    return torch.where(varies, found, torch.full_like(found, torch.nan))
