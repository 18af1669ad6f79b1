"""A bias for each class, tuned after training and folded into the classifier: it costs nothing where the model runs.

A loss that weighs classes makes a network say the rare ones more often than the mean IoU wants, or less often. How much
is found by trying, on images that were trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from sparsevit_runtime.images.letterbox import Letterbox

from .datasets import FIRST_GROUP, IGNORE, Dataset
from .models import TrainedModel
from .monitor import outputs_of
from .recipe_parts import InputRecipe

#: What is added to and taken from a class's score, one after the other, coarse to fine.
_STEPS = (0.8, 0.4, 0.2, 0.1)
#: Rounds of all classes at each step, at most.
_ROUNDS = 3
#: Every n-th score along each side is looked at.
_THINNED = 3


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of pixels whose truth is known.

    Attributes:
        logits: (N, K) float32.
        labels: (N,) int64 classes, or groups where `groups` says of which group a class is.
        groups: (K,) int64, or None.
    """

    logits: Tensor
    labels: Tensor
    groups: Tensor | None = None

    def miou(self, bias: Tensor) -> float:
        """Mean IoU, 0..1, over what occurs, when `bias` (K,) is added to the scores."""
        found = (self.logits + bias).argmax(1)
        count = self.logits.shape[1]
        if self.groups is not None:
            found, count = self.groups[found], int(self.groups.max()) + 1
        matrix = torch.bincount(self.labels * count + found, minlength=count * count).view(count, count).double()
        hit = matrix.diag()
        union = matrix.sum(0) + matrix.sum(1) - hit
        return float((hit[union > 0] / union[union > 0]).mean())


def tuned_bias(scores: Sequence[Scores]) -> Tensor:
    """The bias (K,) float32 that raises the mean of the scores' `miou` most, one class changed at a time."""
    bias = torch.zeros(scores[0].logits.shape[1])

    def value() -> float:
        return sum(s.miou(bias) for s in scores) / len(scores)

    best = value()
    for step in _STEPS:
        for _ in range(_ROUNDS):
            before = best
            for number in range(len(bias)):
                for change in (step, -2 * step, step):  # up, down, and back to where it was
                    bias[number] += change
                    if (now := value()) > best:
                        best = now
                        break
            if best == before:
                break
    return bias - bias.mean()


def scores_of(
    model: TrainedModel,
    dataset: Dataset,
    recipe: InputRecipe,
    ratios: Sequence[float],
    groups: Tensor | None,
    device: torch.device,
    dtype: torch.dtype | None,
) -> Scores:
    """What a segmenter says of a data set's pixels, as deployed, with each of some shares of windows pruned.

    Args:
        model: in eval mode.
        dataset: labelled with classes, or with groups.
        recipe: input size and normalisation.
        ratios: shares of windows pruned.
        groups: (K,) the group of each class, for labels that are groups.
        device, dtype: of the model, and of autocast.
    """
    first = 0 if groups is None else FIRST_GROUP
    found: list[tuple[Tensor, Tensor]] = []
    for ratio in ratios:
        answers: Any = outputs_of(model, dataset, recipe, ratio, device, dtype, 2)
        for _, samples, boxes, logits in answers:
            for sample, box, scored in zip(samples, boxes, logits.float().cpu(), strict=True):
                label = torch.from_numpy(_placed(sample.require_label(), box, tuple(scored.shape[1:])))
                thinned = label[::_THINNED, ::_THINNED].flatten()
                chosen = thinned != IGNORE
                flat = scored[:, ::_THINNED, ::_THINNED].flatten(1).t()[chosen]
                found.append((flat, thinned[chosen].long() - first))
    return Scores(torch.cat([f for f, _ in found]), torch.cat([t for _, t in found]), groups)


def _placed(label: np.ndarray, box: Letterbox, map_hw: tuple[int, int]) -> np.ndarray:
    """A frame's label map where scores at stride 4 lie, `IGNORE` on the border."""
    width, height = box.size_wh
    whole = np.full(box.input_hw, IGNORE, np.uint8)
    inner = whole[box.top : box.top + height, box.left : box.left + width]
    cv2.resize(label, (width, height), dst=inner, interpolation=cv2.INTER_NEAREST)
    rows, columns = (np.minimum(np.arange(n) * 4 + 2, size - 1) for n, size in zip(map_hw, box.input_hw, strict=True))
    return whole[np.ix_(rows, columns)]
