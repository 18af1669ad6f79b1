"""The region proposal network (Ren et al., "Faster R-CNN"), as published with SparseViT: mmdetection's `RPNHead`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import ops
from .boxes import decode_boxes, has_area

#: Anchors: side in cells of a level, and height over width.
SCALE = 8
RATIOS = (0.5, 1.0, 2.0)
#: Candidates of a level, at most.
CANDIDATES = 1000
#: Overlap beyond which the candidate of lower score is left out.
OVERLAP = 0.7
#: Score of a candidate that does not count; those of the others are probabilities.
NONE = -1.0


class RPNHead(nn.Module):
    """Whether there is an object at a location, and where its box is, for anchors of three shapes.

    Args:
        channels: channels of the levels.
        strides: pixels per cell of each level.
    """

    def __init__(self, channels: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, len(RATIOS), 1)
        self.rpn_reg = nn.Conv2d(channels, 4 * len(RATIOS), 1)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Levels (B, C, H, W) -> of each, float32, logits (B, H*W*3) and deltas (B, H*W*3, 4)."""
        logits, deltas = [], []
        for level in levels:
            hidden = self.rpn_conv(level).relu()
            by_cell = self.rpn_cls(hidden).permute(0, 2, 3, 1), self.rpn_reg(hidden).permute(0, 2, 3, 1)
            count = level.shape[2] * level.shape[3] * len(RATIOS)
            logits.append(ops.reshape(by_cell[0].float(), (0, count)))
            deltas.append(ops.reshape(by_cell[1].float(), (0, count, 4)))
        return logits, deltas

    def candidates(
        self,
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        input_hw: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """The best of each level.

        Args:
            logits, deltas: predictions of `forward`.
            sizes: rows and columns of each level.
            input_hw: pixels that boxes are clipped to.

        Returns:
            Boxes (B, L, K, 4) and scores (B, L, K) float32, by descending score; `NONE` where a level has fewer, and
            where no area is left.
        """
        most = min(CANDIDATES, max(x.shape[1] for x in logits))
        best, chosen, places = [], [], []
        for x, own in zip(logits, deltas, strict=True):
            missing = max(0, most - x.shape[1])
            scores, place = ops.top_k(x.sigmoid(), most - missing)
            own = ops.gather_rows(own, place)
            if missing:
                scores = nn.functional.pad(scores, (0, missing), value=NONE)
                place = nn.functional.pad(place, (0, missing))
                own = nn.functional.pad(own, (0, 0, 0, missing))
            best.append(scores)
            chosen.append(own)
            places.append(place)
        anchors = self._anchors(torch.stack(places, 1), [columns for _, columns in sizes])  # (B, L, K, 4)
        boxes = decode_boxes(anchors, torch.stack(chosen, 1), (1.0,) * 4, input_hw)
        return boxes, torch.stack(best, 1).masked_fill(~has_area(boxes), NONE)

    def anchors(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> list[Tensor]:
        """All anchors of levels of that many rows and columns, (H*W*3, 4) xyxy each, in the order of `forward`."""
        counts = [rows * columns * len(RATIOS) for rows, columns in sizes]
        places = torch.arange(max(counts), device=device).expand(1, len(counts), -1)
        table = self._anchors(places, [columns for _, columns in sizes])[0]
        return [own[:count] for own, count in zip(table, counts, strict=True)]

    def _anchors(self, places: Tensor, columns: Sequence[int]) -> Tensor:
        """Anchors at places (B, L, K) of the levels, worked out: a table of all of them would hold 100 000 boxes."""
        cells = ops.quotient(places, torch.tensor(len(RATIOS), device=places.device))
        width = torch.tensor(columns, device=places.device)[:, None]  # (L, 1)
        stride = torch.tensor(self.strides, dtype=torch.float32, device=places.device)[:, None]
        y = ops.quotient(cells, width)
        x = cells - y * width
        sides = torch.tensor([[SCALE / math.sqrt(r) / 2, SCALE * math.sqrt(r) / 2] for r in RATIOS])
        half = ops.select(sides.to(places.device), places - cells * len(RATIOS)) * stride[..., None]  # (B, L, K, 2)
        centre = torch.stack([x, y], -1).float() * stride[..., None]
        return torch.cat([centre - half, centre + half], -1)


def select_proposals(boxes: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best candidates that do not overlap within their level.

    Args:
        boxes, scores: candidates, (B, L, K, 4) and (B, L, K).
        count: P, how many are returned.

    Returns:
        (B, P, 4) xyxy and (B, P) by descending score. Rows past the last have score `NONE` and a box of one pixel.
    """
    _, levels, each = scores.shape
    grouped = ops.reshape(boxes, (-1, each, 4)), ops.reshape(scores, (-1, each))
    keep = ops.nms_keep(*grouped, OVERLAP, NONE / 2, min(count, each))
    kept = grouped[1].masked_fill(~keep, NONE)  # (B*L, K)
    best, places = ops.top_k(ops.reshape(kept, (-1, levels * each)), count)
    chosen = ops.gather_rows(ops.reshape(boxes, (0, levels * each, 4)), places)
    pixel = chosen.new_tensor([0.0, 0.0, 1.0, 1.0])
    return torch.where((best > NONE / 2).unsqueeze(-1), chosen, pixel), best
