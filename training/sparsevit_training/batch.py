"""What one training step sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .teacher import TeacherTargets


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything one step needs.

    Attributes:
        images: (B, H, W, 3) uint8 BGR; see `normalize`.
        labels: the truth, as the task collates it.
        targets: answers of the teacher; None without a teacher.
        keep: windows per block pair; None for a dense step.
        pruned: mean ratio of the plan over the block pairs.
        progress: progress of the training, 0..1, at this step.
    """

    images: Tensor
    labels: Any
    targets: TeacherTargets | None
    keep: tuple[int, ...] | None
    pruned: float
    progress: float


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, H, W, 3) uint8 BGR -> (B, 3, H, W) float32 RGB, normalised, channels last in memory, on the same device."""
    rgb = images.flip(-1).permute(0, 3, 1, 2).float()
    shift, scale = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (mean, std))
    return (rgb - shift) / scale
