"""The deployed backbone: stages that score their windows once, and the counts that `keep` gives them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.windows.geometry import PATCH_SIZE, StageGeometry, stage_geometries
from sparsevit_runtime.windows.plan import Plan, kept_windows

from .. import block_ops, norm_ops, ops
from ..backbone import SparseViT, Stage
from .block import DeployedBlock
from .dense import DeployedMerging, DeployedPatchEmbed
from .front import DeployedFront
from .plain_block import PlainBlock


class WindowCounts(nn.Module):
    """The entries of `keep`, which a graph slices by."""

    def __init__(self, geometries: Sequence[StageGeometry]) -> None:
        super().__init__()
        self.pairs = sum(g.pairs for g in geometries)

    def forward(self, keep: Tensor) -> list[Tensor]:
        """(pairs,) int64 -> windows to compute per block pair, of all stages in one, (1,) int64 each."""
        return [ops.keep_count(keep, i) for i in range(self.pairs)]


class WindowOrder(nn.Module):
    """Sorts the windows of a map."""

    def __init__(self, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size

    def forward(self, x: Tensor, shift: int, count: int) -> Tensor:
        """Ids of the `count` strongest windows of (B, H, W, C) by descending score, (B, count) int32."""
        order = block_ops.window_rank(x, self.window_size, shift)
        return order if count == order.shape[1] else order[:, :count]


class FeatureMap(nn.Module):
    """What a stage hands to the head.

    Args:
        norm: trained.
        in_float: in float32, where the stage is in another type.
    """

    def __init__(self, norm: nn.LayerNorm, in_float: bool) -> None:
        super().__init__()
        self.norm, self.in_float = copy.deepcopy(norm), in_float

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, C, H, W)."""
        norm = self.norm
        return norm_ops.feature_map_norm(x, norm.weight, norm.bias, norm.eps, self.in_float)


class DeployedStage(nn.Module):
    """Blocks of one stage, with the windows' order computed once per parity."""

    def __init__(self, stage: Stage, geometry: StageGeometry, ratios: Sequence[float] | None) -> None:
        """
        Args:
            stage: trained.
            geometry: windows of the stage.
            ratios: ratios of its blocks where the plan is fixed.
        """
        super().__init__()
        self.geometry = geometry
        self.score = WindowOrder(geometry.window_size)
        # Up to the first block that prunes a fixed plan needs no list of windows.
        pruned = 0 if ratios is None else next((i for i, ratio in enumerate(ratios) if ratio), len(ratios))
        blocks = nn.ModuleList(
            (PlainBlock if i < pruned else DeployedBlock)(block, geometry) for i, block in enumerate(stage.blocks)
        )
        self.blocks = cast("Sequence[PlainBlock | DeployedBlock]", blocks)  # PyTorch's list does not say of what
        self.merge = None if stage.downsample is None else DeployedMerging(stage.downsample)

    def forward_keep(self, x: Tensor, counts: Sequence[Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """One count per block pair, (1,) int64, scored at the stage's input; the map, and the order per shift."""
        orders = {b.shift: self.score(x, b.shift, self.geometry.windows) for b in self.blocks[:2]}
        for j, block in enumerate(self.blocks):
            x = block(x, orders[block.shift], counts[j // 2])
        return x, orders

    def forward_fixed(self, x: Tensor, ratios: Sequence[float]) -> tuple[Tensor, dict[int, Tensor]]:
        """Ratios per block, scored where the reference scores."""
        scored: Tensor | None = None
        orders: dict[int, Tensor] = {}
        for block, ratio in zip(self.blocks, ratios, strict=True):
            if isinstance(block, PlainBlock):
                x = block(x)
                continue
            scored = x if scored is None else scored
            count = kept_windows(self.geometry.windows, ratio)
            if count == 0:
                continue  # every window passes through
            if block.shift not in orders:
                orders[block.shift] = self.score(scored, block.shift, count)
            x = block(x, orders[block.shift], count)
        return x, orders


class DeployedBackbone(nn.Module):
    """SparseViT for one input size.

    Args:
        net: trained backbone; left untouched.
        height, width: input size in pixels.
        pad_multiple: number of pixels, see `InputCard`.
        mean, std: RGB normalisation, in bytes.
        camera: input layout, see `DeployedPatchEmbed`.
        plan: freezes the plan; None makes `keep` an input.
        dtype: type of everything after the patch embedding.
        map_dtype: type of the maps that are handed to the head, float32; None for the same.
    """

    def __init__(
        self,
        net: SparseViT,
        height: int,
        width: int,
        pad_multiple: int,
        mean: Sequence[float],
        std: Sequence[float],
        camera: bool,
        plan: Plan | None,
        dtype: torch.dtype,
        map_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.dtype = dtype
        multiple = math.lcm(pad_multiple, PATCH_SIZE)
        geometries = stage_geometries(
            height + -height % multiple, width + -width % multiple, net.depths, net.window_size
        )
        self.pairs = [g.pairs for g in geometries]
        self.embed = DeployedPatchEmbed(net.patch_embed, height, width, multiple, mean, std, camera, dtype)
        self.front = None if net.front is None else DeployedFront(net.front, mean, std, camera, dtype)
        if self.front is not None and pad_multiple > 1 and (height % pad_multiple or width % pad_multiple):
            raise ExportError(
                f"a network with a front takes no image that is padded; export it for multiples of {pad_multiple} "
                f"pixels, not {height}x{width}"
            )
        self.score = WindowCounts(geometries)
        ratios = [None] * len(geometries) if plan is None else plan.ratios
        stages = nn.ModuleList(DeployedStage(*parts) for parts in zip(net.stages, geometries, ratios, strict=True)).to(
            dtype
        )
        self.stages = cast("Sequence[DeployedStage]", stages)
        in_float = map_dtype not in (None, dtype)
        self.maps = nn.ModuleList(FeatureMap(getattr(net, f"norm{i}"), in_float) for i in range(len(geometries)))
        self.maps.to(dtype)

    def forward(self, image: Tensor, keep: Tensor | None = None) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Maps of all stages (B, C, H, W), and the window orders by output name."""
        counts = [] if keep is None else self.score(keep)
        x = self.embed(image)
        front_maps = None if self.front is None else self.front(image)
        maps, orders = [], {}
        for i, (stage, feature_map) in enumerate(zip(self.stages, self.maps, strict=True)):
            if self.front is not None and front_maps is not None:
                x = self.front.projections[i](x, front_maps[i])
            if self.plan is not None:
                x, stage_orders = stage.forward_fixed(x, self.plan.ratios[i])
            else:
                start = sum(self.pairs[:i])
                x, stage_orders = stage.forward_keep(x, counts[start : start + self.pairs[i]])
            for shift, order in stage_orders.items():
                orders[f"{'shifted_' if shift else ''}windows{i}"] = order
            maps.append(feature_map(x))
            if stage.merge is not None:
                x = stage.merge(x)
        return maps, orders
