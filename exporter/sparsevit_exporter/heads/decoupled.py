"""YOLOX's head (Ge et al., "YOLOX: Exceeding YOLO Series in 2021"): for each level a stem, then towers of their own for
class and box. It names an object several times, so that non-maximum suppression has to follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..convolutions import conv, separable
from .detection import STRIDES, RawDetections, location_centres

_PRIOR = -4.6  # log(0.01 / 0.99): every location starts as background
#: Logits beyond say no more, and their exponentials stay finite.
_LARGEST = 20.0


class _Level(nn.Module):
    """The layers of one stride, in the order in which they are computed."""

    def __init__(self, inputs: int, num_classes: int, channels: int) -> None:
        super().__init__()
        self.stem = conv(inputs, channels)
        self.class_tower = nn.Sequential(separable(channels, channels), separable(channels, channels))
        self.classify = nn.Conv2d(channels, num_classes, 1)
        self.box_tower = nn.Sequential(separable(channels, channels), separable(channels, channels))
        self.regress = nn.Conv2d(channels, 4, 1)
        self.object = nn.Conv2d(channels, 1, 1)
        for layer in (self.classify, self.object):
            assert layer.bias is not None
            nn.init.constant_(layer.bias, _PRIOR)

    def forward(self, x: Tensor, stride: int) -> RawDetections:
        stemmed = self.stem(x)
        classes = self.classify(self.class_tower(stemmed)).float()  # (B, K, h, w)
        towered = self.box_tower(stemmed)
        boxes, objects = self.regress(towered).float(), self.object(towered).float()  # (B, 4, h, w), (B, 1, h, w)
        logits = joint_logit(classes, objects).flatten(2).transpose(1, 2)
        dx, dy, width, height = boxes.flatten(2).unbind(1)  # (B, h*w) each, cells and their logarithms
        x0, y0 = (c.to(x.device) - stride / 2 for c in location_centres(x.shape[2], x.shape[3], stride))
        centre_x, centre_y = x0 + dx * stride, y0 + dy * stride
        half_w, half_h = (side.clamp(max=10.0).exp() * (stride / 2) for side in (width, height))
        corners = [centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h]
        return RawDetections(logits, torch.stack(corners, dim=-1))


def joint_logit(classes: Tensor, objects: Tensor) -> Tensor:
    """The logit of ``sigmoid(classes) * sigmoid(objects)``."""
    classes, objects = classes.clamp(-_LARGEST, _LARGEST), objects.clamp(-_LARGEST, _LARGEST)
    return classes + objects - torch.log(classes.exp() + objects.exp() + 1.0)


class DecoupledHead(nn.Module):
    """Boxes and classes at strides 8, 16 and 32.

    Args:
        in_channels: channels of the backbone's four maps; the finest is not used.
        num_classes: classes; background is not one of them.
        channels: width of the head.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, channels: int = 64) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_Level(inputs, num_classes, channels) for inputs in in_channels[1:])

    def forward(self, maps: Sequence[Tensor]) -> RawDetections:
        """Predictions over all locations."""
        parts = [level(x, stride) for level, x, stride in zip(self.levels, maps[1:], STRIDES, strict=True)]
        return RawDetections(torch.cat([p.logits for p in parts], 1), torch.cat([p.boxes for p in parts], 1))

    def forward_training(self, maps: Sequence[Tensor]) -> tuple[None, RawDetections]:
        """As `heads.DetectionHead.forward_training`: there is no branch that names each object once."""
        return None, self(maps)
