"""Boxes as offsets from others, as mmdetection's `DeltaXYWHBBoxCoder` has them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: Largest change of a side, as a logarithm, to both sides.
LARGEST_SCALE = abs(math.log(16 / 1000))


def decode_boxes(boxes: Tensor, deltas: Tensor, stds: Sequence[float], input_hw: tuple[int, int]) -> Tensor:
    """Moves and scales boxes, and clips them.

    Args:
        boxes: (..., 4) float32 xyxy.
        deltas: (..., 4) float32: shift of the centre over the side, and logarithm of the scale, x before y.
        stds: factors of the deltas.
        input_hw: pixels that they are clipped to.

    Returns:
        (..., 4) float32 xyxy.
    """
    if any(std != 1.0 for std in stds):
        deltas = deltas * deltas.new_tensor(stds)
    sides = boxes[..., 2:] - boxes[..., :2]
    centres = (boxes[..., :2] + boxes[..., 2:]) * 0.5 + sides * deltas[..., :2]
    half = sides * deltas[..., 2:].clamp(-LARGEST_SCALE, LARGEST_SCALE).exp() * 0.5
    return clip_boxes(torch.cat([centres - half, centres + half], dim=-1), input_hw)


def clip_boxes(boxes: Tensor, input_hw: tuple[int, int]) -> Tensor:
    """(..., 4) xyxy, inside an image of that height and width."""
    height, width = input_hw
    return torch.minimum(boxes.clamp(min=0.0), boxes.new_tensor([width, height, width, height]))


def has_area(boxes: Tensor) -> Tensor:
    """(..., 4) xyxy -> (...) bool."""
    return (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
