"""A class for every pixel, with one of several heads."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from itertools import chain
from typing import Any

from pydantic import ConfigDict, model_validator
from torch import Tensor, nn

from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.windows.geometry import PATCH_SIZE

from ...backbone import SparseViT
from ...heads.mask2former.labels import POST_PROCESSINGS
from ...parity_report import ParityRow, ParityRun
from ..base import HeadConfig, Task
from .base import Head, SegmentationOptions, Segmenter
from .dense import AllMlpHead, MlpSegmentationModel, PyramidHead, SegmentationModel
from .queries import Mask2FormerConfig, Mask2FormerModel, QueriesHead

__all__ = [
    "HEADS",
    "Head",
    "Mask2FormerConfig",
    "Mask2FormerModel",
    "MlpSegmentationModel",
    "SegmentationModel",
    "SegmentationOptions",
    "SegmentationTask",
    "Segmenter",
]

#: Heads by name; the first is that of checkpoints which name none.
HEADS: dict[str, Head[Any]] = {head.name: head for head in (PyramidHead(), AllMlpHead(), QueriesHead())}
#: Labels are one byte each, of which 255 is none.
_MOST_CLASSES = 255


class SegmentationHeadConfig(HeadConfig):
    """Arguments that rebuild a head; those beside `type` are checked as that head's own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = next(iter(HEADS))

    @model_validator(mode="after")
    def _fits_its_head(self) -> SegmentationHeadConfig:
        if self.type not in HEADS:
            raise ValueError(f"type {self.type!r} is none of {', '.join(HEADS)}; upgrade sparsevit-edge")
        HEADS[self.type].config.model_validate(self.model_dump())
        return self


class SegmentationTask(Task[SegmentationOptions]):
    """Label maps (B, h, w) uint8."""

    name = Segmenter.task
    network = Segmenter
    head_config = SegmentationHeadConfig
    options = SegmentationOptions
    compared_only = tuple(chain.from_iterable(head.compared_only for head in HEADS.values()))

    def build(self, backbone: SparseViT, head: Mapping[str, Any]) -> nn.Module:
        form = HEADS[head.get("type", next(iter(HEADS)))]
        return form.network(backbone, **form.config.model_validate(head).model_dump())

    def deploy(self, network: nn.Module, input_hw: tuple[int, int], options: SegmentationOptions) -> nn.Module:
        head = _head_of(network)
        if options.post_processing is not None and not head.predicts_masks:
            raise ExportError(
                f"post_processing {options.post_processing!r} is for heads that predict masks; this {head.name} head "
                "scores classes itself: leave it out"
            )
        if (count := self.class_count(network)) > _MOST_CLASSES:
            raise ExportError(
                f"the head has {count} classes; a label map holds {_MOST_CLASSES} at most. Train one for fewer, or "
                "export the backbone alone (--task backbone)"
            )
        return head.deploy(network.head, input_hw, options)

    def remark(self, network: nn.Module, options: SegmentationOptions) -> str:
        if not _head_of(network).predicts_masks:
            return ""
        return f"masks to labels as {options.post_processing or POST_PROCESSINGS[0]}"

    def compare(self, run: ParityRun, expected: Any, outputs: Mapping[str, Tensor]) -> list[ParityRow]:
        head = next(head for head in HEADS.values() if outputs.keys() >= {*head.compared_only})
        # The decoding is the same function of the same logits; only exact ties may fall differently.
        wrong = 1.0 - _agreement(head, head.answer_in(outputs), outputs["labels"], (run.input.height, run.input.width))
        return [
            *head.compare(run, expected, outputs),
            run.wrong("labels", wrong, 1.0 - run.limits.labels),
        ]

    def head_in_file(self, card: ModelCard, weights: MutableMapping[str, Tensor]) -> dict[str, Any]:
        for head in HEADS.values():
            found = head.in_file(card, weights)
            if found is not None:
                return {"type": head.name, **found}
        raise KeyError(f"weights of any of the heads {', '.join(HEADS)}")

    def agreement(self, answer: Any, outputs: Mapping[str, Tensor], card: ModelCard) -> float:
        head = next(head for head in HEADS.values() if isinstance(answer, Tensor) != head.predicts_masks)
        return _agreement(head, answer, outputs["labels"], (card.input.height, card.input.width))


def _head_of(network: nn.Module) -> Head[Any]:
    return next(head for head in HEADS.values() if type(network) is head.network)


def _agreement(head: Head[Any], answer: Any, labels: Tensor, input_hw: tuple[int, int]) -> float:
    """Share of the labels that the answer is decoded to: at their stride and, where there is a choice, by the
    post-processing that fits them better."""
    stride = PATCH_SIZE // round(PATCH_SIZE * labels.shape[1] / input_hw[0])
    ways = POST_PROCESSINGS if head.predicts_masks else (None,)
    decoded = (head.labels(answer, SegmentationOptions(stride, way), input_hw) for way in ways)
    return max(float((found == labels).float().mean()) for found in decoded)
