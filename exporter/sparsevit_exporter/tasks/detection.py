"""Boxes and their classes, one for each object."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sparsevit_runtime.agreement import READ_BACK
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.windows.geometry import stage_geometries

from ..heads.detection import DetectionHead, RawDetections, decode_detections
from ..networks import HeadedModel
from ..options import TaskOptions
from ..parity_report import ParityRow, ParityRun
from .base import Task

#: Pixels by which a box of the graph may differ from one decoded in PyTorch.
_SAME_PIXELS = 1e-2


class DetectionModel(HeadedModel):
    """Returns `heads.detection.RawDetections`: one-to-one predictions at every location."""

    task = "detection"
    head_type = DetectionHead


@dataclass(frozen=True)
class DetectionOptions(TaskOptions):
    """Export options of detection.

    Attributes:
        detections: boxes returned per image; no more than the input has locations.
    """

    detections: int = 100

    def __post_init__(self) -> None:
        if self.detections < 1:
            raise ExportError(f"detections is {self.detections}; at least one box is returned per image")


class DeployedDetection(nn.Module):
    """The best boxes, and the predictions at every location they were chosen from."""

    def __init__(self, head: nn.Module, input_hw: tuple[int, int], count: int) -> None:
        super().__init__()
        self.head = head
        self.input_hw, self.count = input_hw, count

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        raw = self.head(maps)
        boxes, scores, classes = decode_detections(raw, self.count, *self.input_hw)
        answers = {"boxes": boxes, "scores": scores, "classes": classes}
        return answers | {"raw_logits": raw.logits, "raw_boxes": raw.boxes}


class DetectionTask(Task[DetectionOptions]):
    """Boxes (B, N, 4) xyxy in input pixels, scores (B, N) descending, classes (B, N)."""

    name = DetectionModel.task
    network = DetectionModel
    options = DetectionOptions
    compared_only = ("raw_logits", "raw_boxes")

    def deploy(self, network: nn.Module, input_hw: tuple[int, int], options: DetectionOptions) -> nn.Module:
        assert isinstance(network, DetectionModel)
        backbone = self.backbone_of(network)
        stages = stage_geometries(*input_hw, backbone.depths, backbone.window_size)
        locations = sum(s.height * s.width for s in stages[1:])  # the head leaves out the finest map
        return DeployedDetection(network.head, input_hw, min(options.detections, locations))

    def compare(self, run: ParityRun, expected: RawDetections, outputs: Mapping[str, Tensor]) -> list[ParityRow]:
        raw = RawDetections(outputs["raw_logits"], outputs["raw_boxes"])
        count = outputs["scores"].shape[1]
        boxes, scores, _ = decode_detections(raw, count, run.input.height, run.input.width)
        return [
            run.real("raw_logits", raw.logits, expected.logits),
            run.real("raw_boxes", raw.boxes, expected.boxes),
            run.real("scores", outputs["scores"], scores),
            run.wrong("boxes", _wrong_boxes(outputs, boxes, scores, run.limits.same), 1.0 - run.limits.detections),
        ]

    def head_in_file(self, card: ModelCard, weights: MutableMapping[str, Tensor]) -> dict[str, Any]:
        # The auxiliary branch is not in the file; it starts again as a copy of the one that is.
        for name in [name for name in weights if name.startswith("head.one_to_one.")]:
            weights[name.replace("one_to_one", "one_to_many", 1)] = weights[name]
        channels = weights["head.one_to_one.classify.weight"].shape[1]
        return {"num_classes": len(card.classes), "channels": channels}

    def agreement(self, answer: RawDetections, outputs: Mapping[str, Tensor], card: ModelCard) -> float:
        _, scores, _ = decode_detections(answer, outputs["scores"].shape[1], card.input.height, card.input.width)
        return float(((scores - outputs["scores"]).abs() < READ_BACK.difference).float().mean())


def _wrong_boxes(outputs: Mapping[str, Tensor], boxes: Tensor, scores: Tensor, same: float) -> float:
    """Boxes of equal score may change places: each of ours must be among the expected ones of that score."""
    same_box = (outputs["boxes"][:, :, None] - boxes[:, None]).abs().amax(-1) < _SAME_PIXELS  # (B, N, N)
    same_score = (outputs["scores"][:, :, None] - scores[:, None]).abs() < same
    tied_at_cut = (outputs["scores"] - scores[:, -1:]).abs() < same  # any of the tied locations may be returned
    return float((~((same_box & same_score).any(-1) | tied_at_cut)).float().mean())
