"""What a checkpoint gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sparsevit_runtime.card import ClassCard, MetricCard

#: ImageNet's RGB statistics in 0..255 units, which every published Swin was trained with.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A network with its weights, and what is known about it.

    Attributes:
        network: `SparseViT`, `SegmentationModel` or `DetectionModel`, in eval mode, float32, on the CPU.
        task: ``backbone``, ``segmentation`` or ``detection``.
        format: name of the format it was read as.
        classes: of the head, in the order of its outputs; empty for a backbone.
        mean, std: RGB normalisation in 0..255 units.
        input_hw: height and width in pixels it was trained for; None when not recorded.
        training: free description of the training.
        metrics: measured figures.
        ignored: keys of the file that belong to parts this network does not have.
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
