"""Window activity: which windows of which block were computed, and where they lie on the frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import PlanError
from ..images.placement import Placement
from .geometry import PATCH_SIZE, StageGeometry
from .plan import Plan, kept_windows


@dataclass(frozen=True, slots=True, eq=False)
class StageActivity:
    """One stage's windows.

    Attributes:
        geometry: token map and windows.
        cell_size: input pixels along a side of a token.
        computed: one map per block, (rows, columns) bool over the windows of the padded map; those of odd blocks are
            shifted.
    """

    geometry: StageGeometry
    cell_size: int
    computed: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if len(self.computed) != self.geometry.depth:
            raise ValueError(f"expected {self.geometry.depth} masks, one per block, got {len(self.computed)}")
        for j, mask in enumerate(self.computed):
            if mask.shape != self.geometry.windows_hw or mask.dtype != bool:
                raise ValueError(
                    f"mask of block {j} must be {self.geometry.windows_hw} bool, got {mask.shape} {mask.dtype}"
                )

    def shift(self, block: int) -> int:
        """Tokens by which the block's windows are shifted: 0 for even blocks."""
        return self.geometry.shift if block % 2 else 0

    def token_mask(self, block: int) -> np.ndarray:
        """Tokens the block computed, (height, width) bool on the unpadded map; shifted windows wrap around its edge."""
        size, shift = self.geometry.window_size, self.shift(block)
        padded = self.computed[block].repeat(size, axis=0).repeat(size, axis=1)
        rolled = np.roll(padded, (shift, shift), axis=(0, 1)) if shift else padded
        return rolled[: self.geometry.height, : self.geometry.width]

    def window_boxes(self, block: int) -> np.ndarray:
        """Outlines of the computed windows on the unpadded map; a window that wraps around gives one box per piece.

        Returns:
            (N, 4) int64 xyxy in tokens, end exclusive.
        """
        rows, columns = self.geometry.windows_hw
        vertical = [_segments(r, rows, self, block, self.geometry.height) for r in range(rows)]
        horizontal = [_segments(c, columns, self, block, self.geometry.width) for c in range(columns)]
        boxes = [
            (x0, y0, x1, y1)
            for r, c in np.argwhere(self.computed[block])
            for y0, y1 in vertical[r]
            for x0, x1 in horizontal[c]
        ]
        return np.array(boxes, np.int64).reshape(-1, 4)


def _segments(index: int, count: int, stage: StageActivity, block: int, limit: int) -> list[tuple[int, int]]:
    """Token intervals of a window along one axis, cut at the padded edge where it wraps and at the map's own edge."""
    size = stage.geometry.window_size
    start = index * size + stage.shift(block)
    end, padded = start + size, count * size
    pieces = [(start, min(end, padded))]
    if end > padded:
        pieces.append((0, end - padded))
    return [(a, min(b, limit)) for a, b in pieces if a < min(b, limit)]


@dataclass(frozen=True, slots=True, eq=False)
class WindowActivity:
    """The windows a frame had computed.

    Attributes:
        stages: one entry per stage.
        letterbox: way from the frame to the model's input.
    """

    stages: tuple[StageActivity, ...]
    letterbox: Placement

    @classmethod
    def from_orders(
        cls,
        orders: Mapping[str, np.ndarray],
        stages: Sequence[StageGeometry],
        letterbox: Placement,
        keep: Sequence[int] | np.ndarray | None = None,
        fixed: Plan | None = None,
    ) -> WindowActivity:
        """Builds the masks from the graph's window lists of one sample.

        Args:
            orders: ``windows{i}`` and ``shifted_windows{i}``, (n,) integer window ids by descending score; a list may
                be absent where every block of its parity computes all windows.
            stages: window geometry of the model's input.
            letterbox: letterbox of the frame.
            keep: windows per block pair, all stages in one.
            fixed: the frozen plan of a `--fixed` export, instead of `keep`.

        Raises:
            PlanError: neither or both of `keep` and `fixed`, or a list is missing or too short.
        """
        if keep is not None and fixed is None:
            counts = _counts_of_keep(keep, stages)
        elif fixed is not None and keep is None:
            counts = _counts_of_plan(fixed, stages)
        else:
            raise PlanError("window activity needs either the keep vector or the fixed plan")
        activities = []
        for i, (stage, per_block) in enumerate(zip(stages, counts, strict=True)):
            masks = []
            for j, count in enumerate(per_block):
                name = f"{'shifted_' if j % 2 else ''}windows{i}"
                mask = np.full(stage.windows, count == stage.windows)
                if 0 < count < stage.windows:
                    order = orders.get(name)
                    if order is None or len(order) < count:
                        have = "is not among the outputs" if order is None else f"has {len(order)} entries"
                        raise PlanError(f"block {j} of stage {i} computes {count} windows, but {name} {have}")
                    mask[order[:count]] = True
                masks.append(mask.reshape(stage.windows_hw))
            activities.append(StageActivity(stage, PATCH_SIZE << i, tuple(masks)))
        return cls(tuple(activities), letterbox)

    @property
    def computed_share(self) -> float:
        """Windows computed among all windows of all blocks, 0 to 1."""
        masks = [m for stage in self.stages for m in stage.computed]
        return sum(int(m.sum()) for m in masks) / sum(m.size for m in masks)

    def token_mask(self, stage: int, block: int) -> np.ndarray:
        """Tokens a block computed, (height, width) bool on the stage's unpadded map."""
        return self.stages[stage].token_mask(block)

    def frame_mask(self, stage: int, block: int) -> np.ndarray:
        """The same on the frame, (H, W) bool."""
        part = self.stages[stage]
        return self.letterbox.cells_to_frame(part.token_mask(block), part.cell_size)

    def frame_boxes(self, stage: int, block: int) -> np.ndarray:
        """Outlines of the computed windows, (N, 4) float32 xyxy in frame pixels; those in the borders are left out."""
        part = self.stages[stage]
        boxes = self.letterbox.boxes_to_frame(part.window_boxes(block) * part.cell_size)
        return boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]

    def token_heat(self) -> np.ndarray:
        """Share of blocks that computed each token, (height, width) float32 in 0..1 on the first stage's map."""
        height, width = self.stages[0].geometry.height, self.stages[0].geometry.width
        heat = np.zeros((height, width), np.float32)
        blocks = 0
        for i, stage in enumerate(self.stages):
            total = np.sum([stage.token_mask(j) for j in range(stage.geometry.depth)], axis=0, dtype=np.float32)
            heat += total.repeat(1 << i, axis=0).repeat(1 << i, axis=1)[:height, :width]
            blocks += stage.geometry.depth
        return heat / blocks

    def frame_heat(self) -> np.ndarray:
        """`token_heat` on the frame, (H, W) float32 in 0..1."""
        return self.letterbox.cells_to_frame(self.token_heat(), self.stages[0].cell_size)


def _counts_of_keep(keep: Sequence[int] | np.ndarray, stages: Sequence[StageGeometry]) -> list[list[int]]:
    entries = iter(keep)
    return [[int(k) for k in (next(entries) for _ in range(s.pairs)) for _ in range(2)][: s.depth] for s in stages]


def _counts_of_plan(plan: Plan, stages: Sequence[StageGeometry]) -> list[list[int]]:
    return [[kept_windows(s.windows, r) for r in ratios] for ratios, s in zip(plan.ratios, stages, strict=True)]
