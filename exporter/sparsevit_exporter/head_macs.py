"""Multiply-accumulates counted by PyTorch: of a head, which stands behind the backbone, and of a convolutional front,
which stands before it. Neither depends on what is left out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sparsevit_runtime.graph.parts import HEAD_PARTS
from sparsevit_runtime.windows.geometry import StageGeometry

from . import ops  # noqa: F401 - registers the operators
from .front import Front


def count_head_macs(
    answers: nn.Module, stages: Sequence[StageGeometry], channels: Sequence[int], dtype: torch.dtype
) -> dict[str, int]:
    """Multiply-accumulates for one image by part, `head` for what has none of its own; parts without any are left out.

    Counted: convolutions and matrix products. Not counted: norms, activations, sampling, what is sorted or chosen.

    Args:
        answers: deployed head, see `tasks.Task.deploy`; its weights take no gradients afterwards.
        stages: window geometry of the input size.
        channels: of each stage's map.
        dtype: type of the maps.
    """
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.sparsevit.matmul: _product})
    answers.requires_grad_(False)  # PyTorch's counter would look for their gradients' functions
    # Without memory, and nothing is computed: shapes say it all.
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        maps = [torch.zeros(1, c, s.height, s.width, dtype=dtype) for c, s in zip(channels, stages, strict=True)]
        with counter:
            answers(maps)
    counts = {name: sum(by_operator.values()) // 2 for name, by_operator in counter.get_flop_counts().items()}
    whole = counts.get("Global", 0)
    parts = {part: sum(n for name, n in counts.items() if name.split(".")[-1] == part) for part in HEAD_PARTS}
    parts["head"] = whole - sum(parts.values())
    return {part: count for part, count in parts.items() if count}


def count_front_macs(front: Front, height: int, width: int) -> int:
    """Multiply-accumulates of a convolutional front for one image of (height, width) pixels; as `count_head_macs`."""
    front = copy.deepcopy(front).requires_grad_(False).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), counter:
        projections: Any = front.projections
        for projection, feature_map in zip(projections, front(torch.zeros(1, 3, height, width)), strict=True):
            projection.layer(feature_map)
    return counter.get_total_flops() // 2


def _product(a_shape: Sequence[int], b_shape: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """Operations of `ops.matmul`, two for each multiply-accumulate."""
    return 2 * int(torch.Size(out_shape).numel()) * a_shape[-1]
