"""Detection head: anchor-free, decoupled, one box per object at inference.

Training uses two assignments side by side (Wang et al., "YOLOv10: Real-Time End-to-End Object Detection"): the
one-to-many branch teaches richly, the one-to-one branch learns to speak once per object, so that no NMS is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .pyramid import FeaturePyramid, conv_bn_relu, separable_conv

STRIDES = (8, 16, 32)
_PRIOR = -4.6  # log(0.01 / 0.99): every location starts as background (Lin et al., "Focal Loss")


class RawDetections(NamedTuple):
    """Predictions of one branch over all locations, levels fine to coarse.

    Attributes:
        logits: (B, L, K) class logits.
        boxes: (B, L, 4) xyxy in input pixels.
    """

    logits: Tensor
    boxes: Tensor


class _Branch(nn.Module):
    """Class and box towers, shared by the levels."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.class_tower = nn.Sequential(separable_conv(channels, channels), separable_conv(channels, channels))
        self.box_tower = nn.Sequential(conv_bn_relu(channels, channels, 3), separable_conv(channels, channels))
        self.classify = nn.Conv2d(channels, num_classes, 1)
        self.regress = nn.Conv2d(channels, 4, 1)
        assert self.classify.bias is not None
        nn.init.constant_(self.classify.bias, _PRIOR)

    def forward(self, level: Tensor, stride: int) -> RawDetections:
        logits = self.classify(self.class_tower(level)).flatten(2).transpose(1, 2)  # (B, h*w, K)
        # softplus: distances stay positive and grow linearly, also in half precision
        distances = nn.functional.softplus(self.regress(self.box_tower(level))).float() * (2.0 * stride)
        left, top, right, bottom = distances.flatten(2).unbind(1)  # (B, h*w) each
        x, y = (c.to(level.device) for c in location_centres(level.shape[2], level.shape[3], stride))
        return RawDetections(logits.float(), torch.stack([x - left, y - top, x + right, y + bottom], dim=-1))


def location_centres(height: int, width: int, stride: int) -> tuple[Tensor, Tensor]:
    """Pixel centres of a level's locations, x and y, (h*w,) float32 each, row by row."""
    y, x = torch.meshgrid(
        (torch.arange(height, dtype=torch.float32) + 0.5) * stride,
        (torch.arange(width, dtype=torch.float32) + 0.5) * stride,
        indexing="ij",
    )
    return x.flatten(), y.flatten()


class DetectionHead(nn.Module):
    """Boxes and classes at strides 8, 16 and 32.

    Args:
        in_channels: channels of the backbone's four maps; the finest is not used.
        num_classes: classes; background is not one of them.
        channels: width of the head.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, channels: int = 64) -> None:
        super().__init__()
        self.pyramid = FeaturePyramid(in_channels[1:], channels)
        self.one_to_one = _Branch(channels, num_classes)
        self.one_to_many = _Branch(channels, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> RawDetections:
        """One-to-one predictions over all locations."""
        return self._branch(self.one_to_one, self.pyramid(maps[1:]))

    def forward_training(self, maps: Sequence[Tensor]) -> tuple[RawDetections, RawDetections]:
        """(one-to-one, one-to-many); the one-to-one branch does not steer the features, as in YOLOv10."""
        levels = self.pyramid(maps[1:])
        return (
            self._branch(self.one_to_one, [level.detach() for level in levels]),
            self._branch(self.one_to_many, levels),
        )

    @staticmethod
    def _branch(branch: _Branch, levels: Sequence[Tensor]) -> RawDetections:
        parts = [branch(level, stride) for level, stride in zip(levels, STRIDES, strict=True)]
        return RawDetections(torch.cat([p.logits for p in parts], 1), torch.cat([p.boxes for p in parts], 1))


def decode_detections(raw: RawDetections, count: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best locations, without NMS.

    Args:
        raw: one-to-one predictions.
        count: N, boxes returned; at most the number of locations.
        height, width: those of the input; boxes are clipped to it.

    Returns:
        boxes (B, N, 4) float32 xyxy in input pixels, scores (B, N) float32 descending, classes (B, N) int64.
    """
    best, classes = raw.logits.max(dim=-1)  # (B, L)
    scores, order = best.topk(count, dim=1)
    boxes = raw.boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
    limit = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    boxes = torch.minimum(boxes.clamp(min=0.0), limit)
    return boxes, scores.sigmoid(), classes.gather(1, order)
