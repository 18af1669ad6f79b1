"""Labels from classes and masks of queries: each pixel has the class whose queries claim it most.

A class scores the sum over the queries of its probability times the mask's. Two ways are known, which differ in when
the masks, at a quarter of the image's resolution, are made larger:

- ``detectron2``, the original's: first of all, to the image. Nothing is lost, at the cost of all masks at its size.
- ``huggingface``, transformers' `post_process_semantic_segmentation`: first to 384x384, whatever the image, where the
  classes are scored; then the scores to the image.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ... import ops
from ...map_ops import resize
from ..labels import joined, strips, upsample_rows
from .head import MaskPredictions

PostProcessing = Literal["detectron2", "huggingface"]
POST_PROCESSINGS: tuple[PostProcessing, ...] = get_args(PostProcessing)
#: Pixels along each side that transformers scales the masks to.
_HUGGINGFACE = 384


class MaskLabels(nn.Module):
    """Label maps, computed in strips of rows (`heads.labels`), in float32 in every graph.

    Args:
        way: when masks are made larger.
        scale: labels for each value of a mask along one side; the surplus beyond (height, width) is cropped.
        height, width: size of the label map.
    """

    def __init__(self, way: PostProcessing, scale: int, height: int, width: int) -> None:
        super().__init__()
        self.way, self.scale, self.height, self.width = way, scale, height, width
        self.mixes: dict[tuple[int, int], tuple[int, Tensor]] = {}  # of strips; no buffers: they stay float32

    def fix(self, num_classes: int) -> None:
        """Makes what follows from the size, for a trace to find it."""
        if self.way == "huggingface":
            for strip in strips(self.height, self.width * num_classes):
                self.mixes[strip] = _mix(_HUGGINGFACE, self.height, *strip)

    def forward(self, predictions: MaskPredictions) -> Tensor:
        """Classes (B, Q, K + 1) and masks (B, Q, h, w) -> (B, height, width) uint8."""
        classes = predictions.class_logits.float().softmax(-1)[:, :, :-1].transpose(1, 2)  # (B, K, Q)
        compute = self._original if self.way == "detectron2" else self._transformers
        return joined(compute(classes, predictions.mask_logits))

    def _original(self, classes: Tensor, masks: Tensor) -> list[Tensor]:
        parts = []
        for first, last in strips(self.height, self.width * max(classes.shape[1:]), self.scale):
            rows = upsample_rows(masks, self.scale, first, last, self.width)  # (B, Q, n, W)
            scores = ops.matmul(classes, rows.sigmoid().flatten(2))  # (B, K, n*W)
            parts.append(ops.reshape(scores.argmax(1), (0, last - first, self.width)))
        return parts

    def _transformers(self, classes: Tensor, masks: Tensor) -> list[Tensor]:
        probabilities = resize(masks.float(), _HUGGINGFACE, _HUGGINGFACE).sigmoid()
        scores = ops.reshape(ops.matmul(classes, probabilities.flatten(2)), (0, 0, _HUGGINGFACE, _HUGGINGFACE))
        parts = []
        for first, last in strips(self.height, self.width * classes.shape[1]):
            top, mix = self.mixes.get((first, last)) or _mix(_HUGGINGFACE, self.height, first, last)
            count = mix.shape[1]
            rows = resize(scores[:, :, top : top + count], count, self.width)  # (B, K, m, W)
            parts.append(ops.matmul(mix.to(rows.device), rows).argmax(1))
        return parts


def _mix(size: int, wanted: int, first: int, last: int) -> tuple[int, Tensor]:
    """Rows `first` to `last` of a map of `size` rows that is scaled bilinearly to `wanted` ones.

    Returns:
        The first row of the map that they need, and how much of each from there on, (last - first, m) float32.
    """
    places = ((torch.arange(first, last, dtype=torch.float32) + 0.5) * (size / wanted) - 0.5).clamp(min=0)
    low = places.floor().clamp(max=size - 1).long()
    high = (low + 1).clamp(max=size - 1)
    top = int(low[0])
    mix = torch.zeros(last - first, int(high[-1]) + 1 - top)
    mix.scatter_add_(1, (low - top)[:, None], (1.0 - (places - low))[:, None])
    mix.scatter_add_(1, (high - top)[:, None], (places - low)[:, None])
    return top, mix
