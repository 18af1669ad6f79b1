"""Heads that score every class at every place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from sparsevit_runtime.card import ModelCard

from ...heads.labels import LabelDecoder
from ...heads.mlp import MlpHead
from ...heads.segmentation import SegmentationHead
from ...parity_report import ParityRow, ParityRun
from .base import Head, SegmentationOptions, Segmenter


class SegmentationModel(Segmenter):
    """The pyramid's; returns logits (B, K, H/4, W/4)."""

    head_type = SegmentationHead


class MlpSegmentationModel(Segmenter):
    """SegFormer's all-MLP head; returns logits (B, K, H/4, W/4)."""

    head_name = "mlp"
    head_type = MlpHead


class DeployedScores(nn.Module):
    """Labels, and the logits they were made of."""

    def __init__(self, head: nn.Module, labels: LabelDecoder) -> None:
        super().__init__()
        self.head, self.labels = head, labels

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        logits = self.head(maps)
        return {"labels": self.labels(logits), "logits": logits.float()}


class ScoringHead(Head[Tensor]):
    """Logits (B, K, H/4, W/4)."""

    compared_only = ("logits",)
    #: A weight that this head alone has.
    weight: ClassVar[str]

    def deploy(self, head: nn.Module, input_hw: tuple[int, int], options: SegmentationOptions) -> nn.Module:
        return DeployedScores(head, LabelDecoder(options.scale, *options.label_hw(input_hw)))

    def compare(self, run: ParityRun, expected: Tensor, outputs: Mapping[str, Tensor]) -> list[ParityRow]:
        return [run.real("logits", outputs["logits"], expected)]

    def answer_in(self, outputs: Mapping[str, Tensor]) -> Tensor:
        return outputs["logits"]

    def labels(self, answer: Tensor, options: SegmentationOptions, input_hw: tuple[int, int]) -> Tensor:
        return LabelDecoder(options.scale, *options.label_hw(input_hw))(answer)

    def in_file(self, card: ModelCard, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        if self.weight not in weights:
            return None
        return {"num_classes": len(card.classes), "channels": weights["head.classify.weight"].shape[1]}


class PyramidHead(ScoringHead):
    """A pyramid, merged at stride 4."""

    name = "pyramid"
    network = SegmentationModel
    weight = "head.merge.0.weight"


class AllMlpHead(ScoringHead):
    """A linear layer on each map, and their sum."""

    name = MlpSegmentationModel.head_name
    network = MlpSegmentationModel
    weight = "head.projections.0.weight"
