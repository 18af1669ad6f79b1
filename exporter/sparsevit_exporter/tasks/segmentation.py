"""A class for every pixel."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.windows.geometry import PATCH_SIZE

from ..heads.segmentation import SegmentationHead, decode_labels
from ..networks import HeadedModel
from ..options import TaskOptions
from ..parity_report import ParityRow, ParityRun
from .base import Task


class SegmentationModel(HeadedModel):
    """Returns logits (B, K, H/4, W/4)."""

    task = "segmentation"
    head_type = SegmentationHead


@dataclass(frozen=True)
class SegmentationOptions(TaskOptions):
    """Export options of segmentation.

    Attributes:
        label_stride: pixels per label, 1, 2 or 4.
    """

    label_stride: int = 2

    def __post_init__(self) -> None:
        if self.label_stride not in (1, 2, 4):
            raise ExportError(f"label_stride is {self.label_stride}; the head's logits allow 1, 2 or 4")


class DeployedSegmentation(nn.Module):
    """Labels, and the logits they were made of."""

    def __init__(self, head: nn.Module, input_hw: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.head = head
        self.scale = PATCH_SIZE // stride
        self.label_hw = (-(-input_hw[0] // stride), -(-input_hw[1] // stride))

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        logits = self.head(maps)
        return {"labels": decode_labels(logits, self.scale, *self.label_hw), "logits": logits.float()}


class SegmentationTask(Task[SegmentationOptions]):
    """Label maps (B, h, w) uint8."""

    name = SegmentationModel.task
    network = SegmentationModel
    options = SegmentationOptions
    compared_only = ("logits",)

    def deploy(self, network: nn.Module, input_hw: tuple[int, int], options: SegmentationOptions) -> nn.Module:
        assert isinstance(network, SegmentationModel)
        return DeployedSegmentation(network.head, input_hw, options.label_stride)

    def compare(self, run: ParityRun, expected: Tensor, outputs: Mapping[str, Tensor]) -> list[ParityRow]:
        # The decoding is the same function of the same logits; only exact ties may fall differently.
        decoded = _labels_like(outputs["labels"], outputs["logits"], run.input.height)
        wrong = float((outputs["labels"] != decoded).float().mean())
        return [
            run.real("logits", outputs["logits"], expected),
            run.wrong("labels", wrong, 1.0 - run.limits.labels),
        ]

    def head_in_file(self, card: ModelCard, weights: MutableMapping[str, Tensor]) -> dict[str, Any]:
        return {"num_classes": len(card.classes), "channels": weights["head.classify.weight"].shape[1]}

    def agreement(self, answer: Tensor, outputs: Mapping[str, Tensor], card: ModelCard) -> float:
        labels = outputs["labels"]
        return float((_labels_like(labels, answer, card.input.height) == labels).float().mean())


def _labels_like(labels: Tensor, logits: Tensor, height: int) -> Tensor:
    """The logits decoded to labels of that size, for an input of `height` pixels."""
    scale = round(PATCH_SIZE * labels.shape[1] / height)  # labels per logit
    return decode_labels(logits, scale, *labels.shape[1:])
