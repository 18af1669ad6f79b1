"""Boxes and their classes, one for each object."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from sparsevit_runtime.agreement import READ_BACK
from sparsevit_runtime.card import ModelCard, ObjectsCard
from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.windows.geometry import stage_geometries

from ..backbone import SparseViT
from ..heads.decoupled import DecoupledHead
from ..heads.detection import DetectionHead, RawDetections, decode_detections
from ..networks import HeadedModel
from ..options import TaskOptions
from ..parity_report import ParityRow, ParityRun
from .base import HeadConfig, Task

#: Names of the heads: the one of its own, that names each object once, and YOLOX's.
PYRAMID: Literal["pyramid"] = "pyramid"
YOLOX: Literal["yolox"] = "yolox"
#: Boxes returned by a head that names each object once, and by one that needs NMS.
_BOXES, _BOXES_BEFORE_NMS = 100, 300
#: Overlap above which two boxes of a class are one object's, as YOLOX has it.
NMS_IOU = 0.65
#: Pixels by which a box of the graph may differ from one decoded in PyTorch.
_SAME_PIXELS = 1e-2


class DetectionConfig(HeadConfig):
    """See `HeadConfig`.

    Attributes:
        type: name of the head.
    """

    type: Literal["pyramid", "yolox"] = PYRAMID


class DetectionModel(HeadedModel):
    """Returns `heads.detection.RawDetections`: predictions at every location, of the branch that is deployed.

    Args:
        backbone, num_classes, channels: as for every `HeadedModel`.
        type: head: ``pyramid`` names each object once, ``yolox`` needs NMS.
    """

    task = "detection"
    head_type = DetectionHead

    def __init__(self, backbone: SparseViT, num_classes: int, channels: int = 64, type: str = PYRAMID) -> None:
        super().__init__(backbone, num_classes, channels)
        self.once = type == PYRAMID
        if not self.once:
            self.head = DecoupledHead(backbone.channels, num_classes, channels)
            self.head_config["type"] = type


@dataclass(frozen=True)
class DetectionOptions(TaskOptions):
    """Export options of detection.

    Attributes:
        detections: boxes returned per image, before NMS; no more than the input has locations. None for 100, and 300 of
            a head that names objects several times.
        nms_iou: overlap from which the runtime leaves out the poorer of two boxes of a class, above 0 and at most 1;
            None for 0.65 of a head that names objects several times, and none of others.
    """

    detections: int | None = None
    nms_iou: float | None = None

    def __post_init__(self) -> None:
        if self.detections is not None and self.detections < 1:
            raise ExportError(f"detections is {self.detections}; at least one box is returned per image")
        if self.nms_iou is not None and not 0 < self.nms_iou <= 1:
            raise ExportError(f"nms_iou is {self.nms_iou}; an overlap is above 0 and at most 1")


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
    head_config = DetectionConfig
    compared_only = ("raw_logits", "raw_boxes")

    def deploy(self, network: nn.Module, input_hw: tuple[int, int], options: DetectionOptions) -> nn.Module:
        assert isinstance(network, DetectionModel)
        backbone = self.backbone_of(network)
        stages = stage_geometries(*input_hw, backbone.depths, backbone.window_size)
        locations = sum(s.height * s.width for s in stages[1:])  # the head leaves out the finest map
        count = options.detections or (_BOXES if network.once else _BOXES_BEFORE_NMS)
        return DeployedDetection(network.head, input_hw, min(count, locations))

    def objects(self, network: nn.Module, options: DetectionOptions) -> ObjectsCard:
        assert isinstance(network, DetectionModel)
        return ObjectsCard(nms_iou=options.nms_iou or (None if network.once else NMS_IOU))

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
        decoupled = weights.get("head.levels.0.classify.weight")
        classify = weights["head.one_to_one.classify.weight"] if decoupled is None else decoupled
        kind = {} if decoupled is None else {"type": YOLOX}
        return {"num_classes": len(card.classes), "channels": classify.shape[1], **kind}

    def agreement(self, answer: RawDetections, outputs: Mapping[str, Tensor], card: ModelCard) -> float:
        _, scores, _ = decode_detections(answer, outputs["scores"].shape[1], card.input.height, card.input.width)
        return float(((scores - outputs["scores"]).abs() < READ_BACK.difference).float().mean())


def _wrong_boxes(outputs: Mapping[str, Tensor], boxes: Tensor, scores: Tensor, same: float) -> float:
    """Boxes of equal score may change places: each of ours must be among the expected ones of that score."""
    same_box = (outputs["boxes"][:, :, None] - boxes[:, None]).abs().amax(-1) < _SAME_PIXELS  # (B, N, N)
    same_score = (outputs["scores"][:, :, None] - scores[:, None]).abs() < same
    tied_at_cut = (outputs["scores"] - scores[:, -1:]).abs() < same  # any of the tied locations may be returned
    return float((~((same_box & same_score).any(-1) | tied_at_cut)).float().mean())
