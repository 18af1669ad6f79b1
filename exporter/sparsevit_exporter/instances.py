"""Mask R-CNN (He et al.) on SparseViT, as published: names and shapes of its `state_dict` are mmdetection's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from . import gradients  # noqa: F401 - the heads are trained, too
from .backbone import SparseViT
from .heads.fpn import FPN, STRIDES
from .heads.roi import RoIHead, class_boxes, masks_of, select_detections
from .heads.rpn import RPNHead, select_proposals

#: Maps of the backbone that the pyramid is made of.
STAGES = 4
#: The normalised image is padded with zeros, at the bottom and on the right, to a multiple of it.
PAD_MULTIPLE = 32


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


class InstanceModel(InstanceHeads):
    """SparseViT under Mask R-CNN.

    Args:
        backbone: the feature extractor; of four stages.
        num_classes: classes; background is not one of them.
        channels: width of the pyramid and of the convolutions over it.
        hidden: width of the box head.

    Attributes:
        task: name as the model card has it.
        head_config: arguments that rebuild the heads.

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
