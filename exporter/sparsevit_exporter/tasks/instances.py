"""Instance segmentation by Mask R-CNN (He et al.) on SparseViT, as published: names and shapes of the network's
`state_dict` are mmdetection's."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sparsevit_runtime.agreement import READ_BACK
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import ExportError

from .. import gradients  # noqa: F401 - the heads are trained, too
from ..backbone import SparseViT
from ..heads.fpn import FPN, STRIDES
from ..heads.roi import RoIHead, class_boxes, masks_of, select_detections
from ..heads.rpn import RPNHead, select_proposals
from ..networks import Network
from ..options import TaskOptions
from ..parity_report import ParityRow, ParityRun
from .base import HeadConfig, Task

Resize = Literal["letterbox", "stretch"]
#: Maps of the backbone that the pyramid is made of.
STAGES = 4
#: The normalised image is padded with zeros, at the bottom and on the right, to a multiple of it.
PAD_MULTIPLE = 32
#: Pixels by which a box of the graph may differ from one decoded in PyTorch.
_SAME_PIXELS = 1e-2
_LEVELS = tuple(f"level{i}" for i in range(STAGES))
_RAW = ("logits", "deltas")


@dataclass(frozen=True)
class InstanceFeatures:
    """What `InstanceModel` sees in images before it chooses anything, and what follows from a choice.

    Attributes:
        network: heads that saw it.
        levels: levels of the pyramid, fine to coarse: (B, C, H, W).
        logits: whether there is an object, of each level: (B, H*W*3) float32.
        deltas: where its box is, of each level: (B, H*W*3, 4) float32.
        input_hw: pixels of the images before they were padded.
    """

    network: InstanceHeads
    levels: Sequence[Tensor]
    logits: Sequence[Tensor]
    deltas: Sequence[Tensor]
    input_hw: tuple[int, int]

    def candidates(self) -> tuple[Tensor, Tensor]:
        """Of each level, see `RPNHead.candidates`."""
        sizes = [(level.shape[2], level.shape[3]) for level in self.levels]
        return self.network.rpn_head.candidates(self.logits, self.deltas, sizes, self.input_hw)

    def proposals(self, count: int) -> tuple[Tensor, Tensor]:
        """(B, P, 4) and (B, P), see `select_proposals`."""
        return select_proposals(*self.candidates(), count)

    def classified(self, proposals: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Each class's boxes (B, K, P, 4) and scores (B, K, P), see `class_boxes`."""
        logits, deltas = self.network.roi_head.bbox_head(self.levels, proposals)
        return class_boxes(proposals, scores, logits, deltas, self.input_hw)

    def detections(self, proposals: int, count: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, D, 4), scores (B, D), classes (B, D), see `select_detections`."""
        return select_detections(*self.classified(*self.proposals(proposals)), count, threshold)

    def masks(self, boxes: Tensor, scores: Tensor, classes: Tensor) -> Tensor:
        """(B, D, 28, 28) float32 probabilities over each box."""
        return masks_of(self.network.roi_head.mask_head(self.levels, boxes, classes), scores)


class InstanceHeads(nn.Module):
    """What stands on the backbone."""

    neck: FPN
    rpn_head: RPNHead
    roi_head: RoIHead

    def see(self, maps: Sequence[Tensor], input_hw: tuple[int, int]) -> InstanceFeatures:
        """What can be seen in the backbone's maps of images of that height and width, before they were padded."""
        levels = self.neck(maps)
        logits, deltas = self.rpn_head(levels)
        return InstanceFeatures(self, levels, logits, deltas, input_hw)


class InstanceModel(InstanceHeads, Network):
    """SparseViT under Mask R-CNN.

    Args:
        backbone: the feature extractor; of four stages.
        num_classes: classes; background is not one of them.
        channels: width of the pyramid and of the convolutions over it.
        hidden: width of the box head.

    Raises:
        ValueError: the backbone has not four stages.
    """

    task = "instances"

    def __init__(self, backbone: SparseViT, num_classes: int, channels: int = 256, hidden: int = 1024) -> None:
        super().__init__()
        if len(backbone.channels) != STAGES:
            raise ValueError(f"Mask R-CNN stands on {STAGES} stages; the backbone has {len(backbone.channels)}")
        self.backbone = backbone
        self.neck = FPN(backbone.channels, channels)
        self.rpn_head = RPNHead(channels, STRIDES)
        self.roi_head = RoIHead(channels, num_classes, hidden)
        self.head_config = {"num_classes": num_classes, "channels": channels, "hidden": hidden}

    def forward(
        self,
        images: Tensor,
        ratios: Sequence[Sequence[float]] | None = None,
        keep: Sequence[int] | None = None,
        orders: Sequence[Mapping[int, Tensor]] | None = None,
    ) -> InstanceFeatures:
        """(B, 3, H, W) normalised RGB -> what it sees; the other arguments as in `SparseViT.forward`."""
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % PAD_MULTIPLE, 0, -height % PAD_MULTIPLE))
        return self.see(self.backbone(padded, ratios, keep, orders), (height, width))


class InstanceHeadConfig(HeadConfig):
    """`HeadConfig` with the width of the box head."""

    hidden: int = Field(ge=1)


@dataclass(frozen=True)
class InstanceOptions(TaskOptions):
    """Export options of instance segmentation; the defaults are the published ones.

    Attributes:
        proposals: regions of an image that the box head looks at.
        detections: objects returned per image.
        score_threshold: smallest score of an object, exclusive.
        resize: way from a frame to the input, as the card says it.
    """

    proposals: int = 1000
    detections: int = 100
    score_threshold: float = 0.05
    resize: Resize = "stretch"

    def __post_init__(self) -> None:
        for name in ("proposals", "detections"):
            if getattr(self, name) < 1:
                raise ExportError(f"{name} is {getattr(self, name)}; at least one is needed per image")
        if not 0 <= self.score_threshold < 1:
            raise ExportError(f"score_threshold is {self.score_threshold}; scores are from 0 to 1")
        if self.resize not in get_args(Resize):
            raise ExportError(f"resize is {self.resize!r}; frames come to the input by {' or '.join(get_args(Resize))}")


class _Proposals(nn.Module):
    """Chooses proposals: a module, so that its nodes are a part of their own."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, features: InstanceFeatures) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Boxes and scores of the candidates, and of the proposals."""
        boxes, scores = features.candidates()
        return (boxes, scores), select_proposals(boxes, scores, min(self.count, scores[0].numel()))


class _Detections(nn.Module):
    """Chooses detections, likewise."""

    def __init__(self, options: InstanceOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `select_detections`."""
        count = min(self.options.detections, scores[0].numel())
        return select_detections(boxes, scores, count, self.options.score_threshold)


class DeployedInstances(InstanceHeads):
    """The answers, and what they were chosen from, step by step."""

    def __init__(self, network: InstanceModel, input_hw: tuple[int, int], options: InstanceOptions) -> None:
        super().__init__()
        self.neck, self.rpn_head, self.roi_head = network.neck, network.rpn_head, network.roi_head
        self.proposals, self.detections = _Proposals(options.proposals), _Detections(options)
        self.input_hw = input_hw

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        features = self.see(maps, self.input_hw)
        candidates, proposals = self.proposals(features)
        seen = dict(zip(("candidate_boxes", "candidate_scores"), candidates, strict=True))
        seen |= dict(zip(("proposals", "proposal_scores"), proposals, strict=True))
        boxes, scores = features.classified(*proposals)
        seen |= {"class_boxes": boxes, "class_scores": scores}
        found = self.detections(boxes, scores)
        answers = dict(zip(("boxes", "scores", "classes"), found, strict=True)) | {"masks": features.masks(*found)}
        levels = {name: level.float() for name, level in zip(_LEVELS, features.levels)}
        return answers | levels | {name: torch.cat(list(getattr(features, name)), 1) for name in _RAW} | seen


class InstancesTask(Task[InstanceOptions]):
    """Boxes (B, D, 4) xyxy in input pixels, scores (B, D) descending, classes (B, D), masks (B, D, 28, 28)."""

    name = InstanceModel.task
    network = InstanceModel
    head_config = InstanceHeadConfig
    options = InstanceOptions
    compared_only = (
        *(*_LEVELS, *_RAW, "candidate_boxes", "candidate_scores"),
        *("proposals", "proposal_scores", "class_boxes", "class_scores"),
    )
    pad_multiple = PAD_MULTIPLE

    def resize(self, options: InstanceOptions) -> Resize:
        return options.resize

    def deploy(self, network: nn.Module, input_hw: tuple[int, int], options: InstanceOptions) -> nn.Module:
        assert isinstance(network, InstanceModel)
        return DeployedInstances(network, input_hw, options)

    def compare(self, run: ParityRun, expected: InstanceFeatures, outputs: Mapping[str, Tensor]) -> list[ParityRow]:
        """Step by step, each in PyTorch from what the graph gave for the one before: of boxes that overlap about as
        much as they may, rounding decides which stays."""
        raw = {name: torch.cat(list(getattr(expected, name)), 1) for name in _RAW} | dict(zip(_LEVELS, expected.levels))
        rows = [run.real(name, outputs[name], raw[name]) for name in raw]
        seen = _as_seen(expected, outputs)
        candidates, proposals, found, classified = (
            [outputs[name] for name in names]
            for names in (
                ("candidate_boxes", "candidate_scores"),
                ("proposals", "proposal_scores"),
                ("boxes", "scores", "classes"),
                ("class_boxes", "class_scores"),
            )
        )
        chosen = select_proposals(candidates[0], candidates[1], proposals[1].shape[1])
        boxes, scores = seen.classified(*proposals)
        # Where fewer are found than may be, the rows past the last have score 0: those above it were above the
        # threshold, which the graph alone knows.
        threshold = float(found[1][found[1] > 0].min()) if bool((found[1] > 0).any()) else 1.0
        kept = select_detections(classified[0], classified[1], found[1].shape[1], threshold - run.limits.same)
        masks = seen.masks(*found)
        allowed = 1.0 - run.limits.detections
        return [
            *rows,
            run.wrong("candidates", _wrong(candidates, seen.candidates(), run.limits.same), allowed),
            run.wrong("proposals", _wrong(proposals, chosen, run.limits.same), allowed),
            run.real("class_scores", classified[1], scores),
            run.real("class_boxes", classified[0], boxes),
            run.wrong("detections", _wrong(found, kept, run.limits.same), allowed),
            run.real("masks", outputs["masks"], masks),
        ]

    def head_in_file(self, card: ModelCard, weights: MutableMapping[str, Tensor]) -> dict[str, Any]:
        channels = weights["neck.lateral_convs.0.conv.weight"].shape[0]
        hidden = weights["roi_head.bbox_head.shared_fcs.0.weight"].shape[0]
        return {"num_classes": len(card.classes), "channels": channels, "hidden": hidden}

    def agreement(self, answer: InstanceFeatures, outputs: Mapping[str, Tensor], card: ModelCard) -> float:
        """Of the file's objects: how many are among the network's boxes before any is left out, as a file does not say
        how many proposals it takes; and their masks. 1 where nothing is found."""
        boxes, scores, classes = (outputs[name] for name in ("boxes", "scores", "classes"))
        found = scores[0] > 0
        if not bool(found.any()):
            return 1.0
        all_proposals = answer.proposals(answer.candidates()[1][0].numel())
        ours, our_scores = answer.classified(*all_proposals)  # (1, K, P, 4), (1, K, P)
        places = classes[0, found]
        near = (ours[0, places] - boxes[0, found, None]).abs().amax(-1) < READ_BACK.difference * max(
            card.input.padded_hw
        )
        same = near & ((our_scores[0, places] - scores[0, found, None]).abs() < READ_BACK.difference)
        masks = (answer.masks(boxes, scores, classes) - outputs["masks"])[0, found].abs() < READ_BACK.difference
        return min(float(same.any(-1).float().mean()), float(masks.float().mean()))


def _as_seen(features: InstanceFeatures, outputs: Mapping[str, Tensor]) -> InstanceFeatures:
    """The features with what the graph saw in place of what PyTorch did."""
    levels = [outputs[name] for name in _LEVELS]
    levels.append(F.max_pool2d(levels[-1], kernel_size=1, stride=2))
    counts = [logits.shape[1] for logits in features.logits]
    logits, deltas = (outputs[name].split(counts, 1) for name in _RAW)
    return replace(features, levels=levels, logits=logits, deltas=deltas)


def _wrong(ours: Sequence[Tensor], theirs: Sequence[Tensor], same: float) -> float:
    """`_missing`, the larger of both ways."""
    return max(_missing(ours, theirs, same), _missing(theirs, ours, same))


def _missing(found: Sequence[Tensor], expected: Sequence[Tensor], same: float) -> float:
    """Share of boxes that are not among the expected ones of their score and class; those of the last score may be
    others, as any of equal ones can fall off.

    Args:
        found, expected: boxes (..., N, 4), scores (..., N), and classes (..., N) where they have some.
        same: difference of equal scores.
    """
    (boxes, scores, *classes), (other_boxes, other_scores, *other_classes) = (
        [x.flatten(0, -2 - (i == 0)) if x.ndim > 2 + (i == 0) else x for i, x in enumerate(side)]
        for side in (found, expected)
    )
    is_same = torch.cdist(boxes, other_boxes, p=torch.inf) < _SAME_PIXELS  # (G, N, N)
    is_same &= (scores[:, :, None] - other_scores[:, None]).abs() < same
    for ours, theirs in zip(classes, other_classes):
        is_same &= ours[:, :, None] == theirs[:, None]
    at_cut = (scores - other_scores[:, -1:]).abs() < same
    return float((~(is_same.any(-1) | at_cut)).float().mean())
