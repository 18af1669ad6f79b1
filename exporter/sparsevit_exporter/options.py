"""How a network is exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sparsevit_runtime.agreement import PARITY
from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.windows.plan import Plan

#: ImageNet's RGB statistics in 0..255 units, which every published Swin was trained with.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class TaskOptions:
    """Export options of a task's own; a task that has some has a subclass, all fields with defaults."""


@dataclass(frozen=True)
class ExportOptions:
    """How a network is exported.

    Attributes:
        height, width: pixels of the input.
        name: name of the model, in its card.
        precision: arithmetic of the graph.
        fixed: plan that is frozen into the graph; None makes `keep` an input.
        half_weights: wish to have the weights of an fp32 graph stored in half precision: half the file, float32
            arithmetic. The graph is first compared with full weights, then with the rounded ones at the tolerance of
            half precision.
        layout: ``camera`` for uint8 BGR frames, ``normalized`` for float32 RGB tensors.
        mean, std: RGB normalisation the network was trained with, in bytes.
        task: options of the network's task, such as `tasks.segmentation.SegmentationOptions`; None for its defaults.
    """

    height: int
    width: int
    name: str = "sparsevit"
    precision: Literal["fp32", "fp16"] = "fp32"
    fixed: Plan | None = None
    half_weights: bool = False
    layout: Literal["camera", "normalized"] = "camera"
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    task: TaskOptions | None = None

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ExportError(f"the input size is {self.height}x{self.width}; both sides must be at least 1 pixel")
        if self.precision not in PARITY:
            raise ExportError(f"precision {self.precision!r} is not one of {sorted(PARITY)}")
