"""What a checkpoint gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sparsevit_runtime.card import ClassCard, MetricCard

from ..options import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A network with its weights, and what is known about it.

    Attributes:
        network: network of the task's class, in eval mode, float32, on the CPU.
        task: name of the task (`tasks`).
        format: name of the format it was read as.
        classes: classes of the head, in the order of its outputs; empty for a backbone.
        mean, std: RGB normalisation in 0..255 units.
        input_hw: height and width in pixels it was trained for; None when not recorded.
        training: free description of the training.
        metrics: measured figures.
        ignored: keys of the file that belong to parts this network does not have.
        adapted: True where the file says that windows were left out in its training, False where it says that none
            were, None where it says nothing.
    """

    network: nn.Module
    task: str
    format: str
    classes: tuple[ClassCard, ...] = ()
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    input_hw: tuple[int, int] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[MetricCard, ...] = ()
    ignored: tuple[str, ...] = ()
    adapted: bool | None = None
