"""Mask2Former: queries that predict a class and a mask each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator
from torch import Tensor, nn

from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.windows.geometry import stage_geometries

from ...heads.mask2former import Mask2FormerHead, MaskPredictions
from ...heads.mask2former.deformable import LEVELS, POINTS
from ...heads.mask2former.labels import MaskLabels
from ...heads.mask2former.pixel_decoder import GROUPS
from ...parity_report import ParityRow, ParityRun
from ..base import HeadConfig
from .base import Head, SegmentationOptions, Segmenter

_LOGITS = ("class_logits", "mask_logits")


class Mask2FormerModel(Segmenter):
    """Returns `heads.mask2former.MaskPredictions`. For inference; see there."""

    head_name = "mask2former"
    head_type = Mask2FormerHead


class Mask2FormerConfig(HeadConfig):
    """Arguments of `Mask2FormerHead`."""

    feature_channels: int = Field(default=256, ge=1)
    mask_channels: int = Field(default=256, ge=1)
    queries: int = Field(default=100, ge=1)
    heads: int = Field(default=8, ge=1)
    encoder_layers: int = Field(default=6, ge=1)
    encoder_hidden: int = Field(default=1024, ge=1)
    decoder_layers: int = Field(default=9, ge=1)
    decoder_hidden: int = Field(default=2048, ge=1)
    project: bool = False

    @model_validator(mode="after")
    def _divides(self) -> Mask2FormerConfig:
        for name, channels in (("channels", self.channels), ("feature_channels", self.feature_channels)):
            if channels % (2 * self.heads) or channels % 4:
                raise ValueError(f"{name} {channels} do not divide into {self.heads} heads and pairs of sines")
        if self.feature_channels % GROUPS:
            raise ValueError(f"feature_channels {self.feature_channels} do not divide into {GROUPS} groups")
        return self

    @classmethod
    def of(cls, weights: Mapping[str, Any]) -> Mask2FormerConfig:
        """Told by the shapes of a head's weights.

        Args:
            weights: anything with a shape, by the names in `Mask2FormerHead`.

        Raises:
            KeyError, IndexError: a weight that tells is missing, or has too few dimensions.
            ValueError: they are of no such head.
        """
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        pixel, transformer = "pixel_decoder.encoder.layers", "transformer_decoder.decoder.layers"
        queries = shapes["transformer_decoder.queries_features.weight"]
        return cls(
            num_classes=shapes["class_predictor.weight"][0] - 1,
            channels=queries[1],
            feature_channels=shapes["pixel_decoder.input_projections.0.0.weight"][0],
            mask_channels=shapes["pixel_decoder.mask_projection.weight"][0],
            queries=queries[0],
            heads=shapes[f"{pixel}.0.self_attn.attention_weights.bias"][0] // (LEVELS * POINTS),
            encoder_layers=_count(pixel, shapes),
            encoder_hidden=shapes[f"{pixel}.0.fc1.bias"][0],
            decoder_layers=_count(transformer, shapes),
            decoder_hidden=shapes[f"{transformer}.0.fc1.bias"][0],
            project="transformer_decoder.input_projections.0.weight" in shapes,
        )


def _count(prefix: str, names: Mapping[str, Any]) -> int:
    return len({name.removeprefix(f"{prefix}.").partition(".")[0] for name in names if name.startswith(f"{prefix}.")})


class DeployedMasks(nn.Module):
    """Labels, and the classes and masks they were made of."""

    def __init__(self, head: Mask2FormerHead, labels: MaskLabels) -> None:
        super().__init__()
        self.head, self.labels = head, labels

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        found = self.head(maps)
        assert found.masked is not None
        compared = {"class_logits": found.class_logits.float(), "mask_logits": found.mask_logits.float()}
        return {"labels": self.labels(found), **compared, "masked": found.masked}


class QueriesHead(Head[MaskPredictions]):
    """Classes (B, Q, K + 1) and masks (B, Q, H/4, W/4)."""

    name = Mask2FormerModel.head_name
    network = Mask2FormerModel
    config = Mask2FormerConfig
    compared_only = (*_LOGITS, "masked")
    predicts_masks = True

    def deploy(self, head: Mask2FormerHead, input_hw: tuple[int, int], options: SegmentationOptions) -> nn.Module:
        labels = _labels(options, input_hw)
        maps = stage_geometries(*input_hw, (1,) * (LEVELS + 1), window_size=1)
        head.fix([(m.height, m.width) for m in maps])
        labels.fix(head.class_predictor.out_features - 1)
        return DeployedMasks(head, labels)

    def compare(self, run: ParityRun, expected: MaskPredictions, outputs: Mapping[str, Tensor]) -> list[ParityRow]:
        """Layer by layer, each in PyTorch with the graph's queries looking where they did in the one before."""
        assert expected.look_again is not None
        seen = expected.look_again(outputs["masked"])
        assert seen.masked is not None
        turned = float((seen.masked != outputs["masked"]).float().mean())
        logits = [run.real(name, outputs[name], getattr(seen, name)) for name in _LOGITS]
        return [run.wrong("masked", turned, 1.0 - run.limits.labels), *logits]

    def answer_in(self, outputs: Mapping[str, Tensor]) -> MaskPredictions:
        return MaskPredictions(outputs["class_logits"], outputs["mask_logits"])

    def labels(self, answer: MaskPredictions, options: SegmentationOptions, input_hw: tuple[int, int]) -> Tensor:
        return _labels(options, input_hw)(answer)

    def in_file(self, card: ModelCard, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        head = {name.removeprefix("head."): tensor for name, tensor in weights.items() if name.startswith("head.")}
        if "transformer_decoder.queries_features.weight" not in head:
            return None
        return Mask2FormerConfig.of(head).model_dump()


def _labels(options: SegmentationOptions, input_hw: tuple[int, int]) -> MaskLabels:
    return MaskLabels(options.post_processing or "detectron2", options.scale, *options.label_hw(input_hw))
