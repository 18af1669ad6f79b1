"""What Mask R-CNN (He et al.) looks at inside boxes: their classes, their exact places, the shapes in them.

Names, shapes and results are those of mmdetection's `StandardRoIHead` with `Shared2FCBBoxHead` and `FCNMaskHead`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import ops
from ..regions import LEVELS
from .boxes import decode_boxes
from .fpn import STRIDES, Convolution

#: Scale in pixels of the boxes that lie on the finest.
FINEST_SCALE = 56
#: Factors of the offsets.
STDS = (0.1, 0.1, 0.2, 0.2)
#: Overlap beyond which the box of lower score is left out.
OVERLAP = 0.5
#: Bins along one side of what the box head and the mask head see.
BOX_SIZE, MASK_SIZE = 7, 14


def regions_of(levels: Sequence[Tensor], boxes: Tensor, size: int) -> Tensor:
    """Levels (B, C, H, W), boxes (B, N, 4) -> (B*N, C, size, size)."""
    channels = levels[0].shape[1]
    regions = ops.multi_level_roi_align(levels[:LEVELS], boxes, size, FINEST_SCALE, STRIDES[:LEVELS])
    return ops.reshape(regions, (-1, channels, size, size))


class BoxHead(nn.Module):
    """Class and box of a region.

    Args:
        channels: channels of the levels.
        num_classes: classes; background is not one of them.
        hidden: width of its layers.
    """

    def __init__(self, channels: int, num_classes: int, hidden: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        inputs = channels * BOX_SIZE**2
        self.shared_fcs = nn.ModuleList([nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)])
        self.fc_cls = nn.Linear(hidden, num_classes + 1)
        self.fc_reg = nn.Linear(hidden, 4 * num_classes)

    def forward(self, levels: Sequence[Tensor], proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Levels, proposals (B, P, 4) -> float32 logits (B, P, K + 1), background last, and deltas (B, P, K, 4)."""
        count = proposals.shape[1]
        x = ops.reshape(regions_of(levels, proposals, BOX_SIZE), (-1, self.shared_fcs[0].in_features))
        for layer in self.shared_fcs:
            x = layer(x).relu()
        logits = ops.reshape(self.fc_cls(x).float(), (-1, count, self.num_classes + 1))
        return logits, ops.reshape(self.fc_reg(x).float(), (-1, count, self.num_classes, 4))


def class_boxes(
    proposals: Tensor, proposal_scores: Tensor, logits: Tensor, deltas: Tensor, input_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Each class's own boxes.

    Args:
        proposals, proposal_scores: (B, P, 4) and (B, P), negative past the last.
        logits, deltas: predictions of `BoxHead`.
        input_hw: pixels that boxes are clipped to.

    Returns:
        (B, K, P, 4) xyxy and scores (B, K, P).
    """
    scores = logits.softmax(-1)[..., :-1].masked_fill((proposal_scores < 0).unsqueeze(-1), 0.0)
    boxes = decode_boxes(proposals.unsqueeze(2), deltas, STDS, input_hw)  # (B, P, K, 4)
    return boxes.transpose(1, 2), scores.transpose(1, 2)


def select_detections(boxes: Tensor, scores: Tensor, count: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """The best boxes that do not overlap one of their own class.

    Args:
        boxes, scores: (B, K, P, 4) and (B, K, P), as of `class_boxes`.
        count: D, how many are returned.
        threshold: smallest score, exclusive.

    Returns:
        Boxes (B, D, 4), scores (B, D) descending, classes (B, D) int64; zeros past the last.
    """
    _, classes, each = scores.shape
    flat_scores = ops.reshape(scores, (-1, each))
    keep = ops.nms_keep(ops.reshape(boxes, (-1, each, 4)), flat_scores, OVERLAP, threshold, min(count, each))
    kept = ops.reshape(flat_scores.masked_fill(~keep, 0.0), (-1, classes * each))
    best, places = ops.top_k(kept, count)
    chosen = ops.gather_rows(ops.reshape(boxes, (0, classes * each, 4)), places)
    of_class = ops.quotient(places, torch.tensor(each, device=places.device))
    found = best > 0
    return chosen.masked_fill(~found.unsqueeze(-1), 0.0), best, of_class.masked_fill(~found, 0)


class MaskHead(nn.Module):
    """The shape in a box, 28 by 28.

    Args:
        channels: channels of the levels, and of its own layers.
        num_classes: classes.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Convolution(channels, channels, 3) for _ in range(4))
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.conv_logits = nn.Conv2d(channels, num_classes, 1)

    def forward(self, levels: Sequence[Tensor], boxes: Tensor, classes: Tensor) -> Tensor:
        """Levels, boxes (B, D, 4), their classes (B, D) -> float32 logits (B, D, 28, 28).

        Only the box's own class is computed in the last layer.
        """
        x = regions_of(levels, boxes, MASK_SIZE)
        for convolution in self.convs:
            x = convolution(x).relu()
        x = self.upsample(x).relu()  # (B*D, C, 28, 28)
        count, channels, side = boxes.shape[1], x.shape[1], 2 * MASK_SIZE
        bias = self.conv_logits.bias
        assert bias is not None
        weight = ops.reshape(ops.select(self.conv_logits.weight, classes), (0, 0, 1, -1))  # (B, D, 1, C)
        logits = ops.matmul(weight, ops.reshape(x, (-1, count, channels, side * side))).float()  # (B, D, 1, 784)
        logits = logits + ops.select(bias, classes).float()[..., None, None]
        return ops.reshape(logits, (0, 0, side, side))


class RoIHead(nn.Module):
    """Holds both heads under the published names.

    Args:
        channels: channels of the levels.
        num_classes: classes.
        hidden: width of the box head.
    """

    def __init__(self, channels: int, num_classes: int, hidden: int) -> None:
        super().__init__()
        self.bbox_head = BoxHead(channels, num_classes, hidden)
        self.mask_head = MaskHead(channels, num_classes)


def masks_of(logits: Tensor, scores: Tensor) -> Tensor:
    """Probabilities (B, D, 28, 28) of logits; zeros past the last detection, whose score is 0."""
    return torch.where((scores > 0)[..., None, None], logits.sigmoid(), 0.0)
