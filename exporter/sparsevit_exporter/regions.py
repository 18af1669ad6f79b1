"""Regions of feature maps in plain PyTorch: boxes that do not overlap, and what lies inside a box.

Boxes are xyxy in pixels of the network's input. What mmdetection 2 and mmcv 1 compute, to their last rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: Levels that boxes are distributed over.
LEVELS = 4


def nms_keep(boxes: Tensor, scores: Tensor, iou: float, score_threshold: float, limit: int) -> Tensor:
    """Greedy non-maximum suppression, each group by itself.

    Equal scores: the lower index first. A box without area overlaps nothing; NaN takes no part.

    Args:
        boxes: (G, N, 4) float32.
        scores: (G, N) float32; only those above `score_threshold` take part.
        iou: overlap beyond which the box of lower score is left out.
        score_threshold: smallest score, exclusive.
        limit: boxes kept of a group, at most.

    Returns:
        (G, N) bool.
    """
    keep = np.zeros(tuple(scores.shape), dtype=bool)
    groups = zip(keep, boxes.detach().cpu().numpy(), scores.detach().cpu().numpy(), strict=True)
    for kept, own_boxes, own_scores in groups:
        takes_part = np.flatnonzero((own_scores > score_threshold) & ~np.isnan(own_boxes).any(1))
        left = takes_part[np.argsort(-own_scores[takes_part], kind="stable")]
        kept[_greedy(own_boxes[left], left, iou, limit)] = True
    return torch.from_numpy(keep).to(scores.device)


def _greedy(boxes: np.ndarray, numbers: np.ndarray, iou: float, limit: int) -> list[int]:
    """Numbers of the boxes (n, 4) that are kept, best first; they come by descending score."""
    kept: list[int] = []
    while len(numbers) and len(kept) < limit:
        kept.append(int(numbers[0]))
        best, boxes, numbers = boxes[0], boxes[1:], numbers[1:]
        if best[2] > best[0] and best[3] > best[1]:
            shared = np.minimum(boxes[:, 2:], best[2:]) - np.maximum(boxes[:, :2], best[:2])
            sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
            common = np.maximum(shared, 0).prod(1)
            area = (best[2] - best[0]) * (best[3] - best[1])
            # Where a box is turned inside out it shares nothing, however large the other side of the product.
            free = ~((sides > 0).all(1) & (common / (area + sides.prod(1) - common) > iou))
            boxes, numbers = boxes[free], numbers[free]
    return kept


def box_levels(boxes: Tensor, finest_scale: int) -> Tensor:
    """The level of each box, (..., 4) -> (...) int64: 0 below twice `finest_scale`, one more each time it doubles.

    -1 for a box without area, or of NaN.
    """
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    scale = (width * height).clamp(min=0).sqrt() / finest_scale + 1e-6
    level = sum((scale >= 2.0**i).long() for i in range(1, LEVELS))
    return torch.where((width > 0) & (height > 0), level, -1)


def multi_level_roi_align(
    maps: Sequence[Tensor], boxes: Tensor, output_size: int, finest_scale: int, strides: Sequence[int]
) -> Tensor:
    """The inside of boxes, averaged in bins: `RoiAlign` (He et al., "Mask R-CNN"), aligned, as many samples as cells.

    Args:
        maps: (B, C, Hi, Wi), fine to coarse; as many as `LEVELS`.
        boxes: (B, N, 4) float32.
        output_size: bins along one side.
        finest_scale: scale in pixels of the finest level's boxes, see `box_levels`.
        strides: pixels per cell, of each map.

    Returns:
        (B, N, C, output_size, output_size) of the maps' type; 0 where a box has no area.
    """
    batch, count = boxes.shape[:2]
    channels = maps[0].shape[1]
    levels = box_levels(boxes, finest_scale)
    found, places = [maps[0].new_zeros((0, channels, output_size, output_size), dtype=torch.float32)], []
    for level, (feature_map, stride) in enumerate(zip(maps, strides, strict=True)):
        rows, columns = feature_map.shape[2:]
        cells_table = feature_map.float().permute(0, 2, 3, 1).reshape(-1, channels)  # (B*H*W, C)
        samples, numbers = (levels == level).nonzero(as_tuple=True)
        cells = boxes[samples, numbers] / stride - 0.5  # (n, 4)
        grids = ((cells[:, 2:] - cells[:, :2]) / output_size).ceil()  # samples per bin, x and y
        for grid in grids.unique(dim=0):
            if not bool(grid.isfinite().all()):
                continue
            chosen = (grids == grid).all(1).nonzero().squeeze(1)  # (m,)
            column, over_columns = _weighted_cells(cells[chosen][:, 0::2], output_size, int(grid[0]), columns)
            row, over_rows = _weighted_cells(cells[chosen][:, 1::2], output_size, int(grid[1]), rows)
            row = row + samples[chosen, None, None] * rows
            index = row[:, :, None, :, None] * columns + column[:, None, :, None]  # (m, bins, bins, 2*gy, 2*gx)
            weight = over_rows[:, :, None, :, None] * over_columns[:, None, :, None]
            index, weight = (x.flatten(3).flatten(0, 2) for x in (index, weight))  # (m*bins*bins, 4*gy*gx)
            bins = F.embedding_bag(index, cells_table, per_sample_weights=weight, mode="sum")  # (m*bins*bins, C)
            found.append(bins.unflatten(0, (len(chosen), output_size, output_size)).permute(0, 3, 1, 2))
            places.append(samples[chosen] * count + numbers[chosen])
    regions = found[0].new_zeros((batch * count, channels, output_size, output_size))
    if places:
        regions = regions.index_copy(0, torch.cat(places), torch.cat(found))
    return regions.unflatten(0, (batch, count)).to(maps[0].dtype)


def _weighted_cells(sides: Tensor, bins: int, samples: int, extent: int) -> tuple[Tensor, Tensor]:
    """Cells along one side that a bin is the sum of, and their weights, (m, bins, 2*samples) each.

    Args:
        sides: (m, 2) first and last place, in cells.
        bins: bins along the side.
        samples: samples of a bin.
        extent: cells of the map along the side.
    """
    start, step = sides[:, :1], (sides[:, 1:] - sides[:, :1]) / bins
    bin_start = start + torch.arange(bins, device=sides.device) * step  # (m, bins)
    offset = (torch.arange(samples, device=sides.device) + 0.5) * step / samples  # (m, samples)
    at = bin_start[:, :, None] + offset[:, None]  # (m, bins, samples)
    inside = ((at >= -1.0) & (at <= extent)) / samples
    at = at.clamp(min=0.0)
    low = at.floor().clamp(max=extent - 1)
    fraction = torch.where(low >= extent - 1, 0.0, at - low)
    cells = torch.cat([low, (low + 1).clamp(max=extent - 1)], -1).long()
    return cells, torch.cat([(1.0 - fraction) * inside, fraction * inside], -1)
