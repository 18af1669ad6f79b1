"""SparseViT: a Swin Transformer that computes only the windows with the strongest activations.

Parameter names, shapes and results are those of the published implementation (Chen et al., "SparseViT: Revisiting
Activation Sparsity for Efficient High-Resolution Vision Transformer", CVPR 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsevit_runtime.errors import PlanError
from sparsevit_runtime.windows.geometry import PATCH_SIZE
from sparsevit_runtime.windows.plan import kept_windows

from . import windows
from .front import Front

NORM_EPS = 1e-5


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a learned bias per relative position."""

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        self.register_buffer("relative_position_index", windows.relative_position_index(window_size).clone())
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def position_bias(self) -> Tensor:
        """(heads, T, T)."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attends within each window.

        Args:
            x: (N, T, C), N windows.
            mask: (N, T, T) additive, or None.

        Returns:
            (N, T, C).
        """
        count, tokens, channels = x.shape
        qkv = self.qkv(x).view(count, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        bias = self.position_bias().unsqueeze(0)  # (1, h, T, T)
        if mask is not None:
            bias = bias + mask.unsqueeze(1)  # (N, h, T, T)
        q, k, v = qkv.unbind(0)  # (N, h, T, d)
        # Written out: the fused operator falls back to a slower path when its mask needs a gradient.
        scores = (q * self.head_dim**-0.5) @ k.transpose(-2, -1) + bias.to(q.dtype)  # (N, h, T, T)
        out = scores.softmax(-1).to(v.dtype) @ v
        return self.proj(out.transpose(1, 2).reshape(count, tokens, channels))


class ShiftWindowAttention(nn.Module):
    """Holds `w_msa` under the reference's parameter name."""

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.w_msa = WindowAttention(dim, num_heads, window_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.w_msa(x, mask)


class FeedForward(nn.Module):
    """Linear, exact GELU, Linear; named as in the reference."""

    def __init__(self, dim: int, expansion: int = 4) -> None:
        super().__init__()
        hidden = nn.Sequential(nn.Linear(dim, expansion * dim), nn.GELU())
        self.layers = nn.Sequential(hidden, nn.Linear(expansion * dim, dim))

    @property
    def expand(self) -> nn.Linear:
        """Up to the hidden channels."""
        return cast(nn.Linear, cast(nn.Sequential, self.layers[0])[0])

    @property
    def contract(self) -> nn.Linear:
        """Back to the channels that came in."""
        return cast(nn.Linear, self.layers[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DropPath(nn.Module):
    """Drops a residual branch per sample while training (Huang et al., "Deep Networks with Stochastic Depth")."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * (torch.empty(shape, device=x.device, dtype=x.dtype).bernoulli_(keep) / keep)


class Block(nn.Module):
    """One transformer block over all windows of the map, or over the listed ones only."""

    def __init__(self, dim: int, num_heads: int, window_size: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = ShiftWindowAttention(dim, num_heads, window_size)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.ffn = FeedForward(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """Computes the block.

        Args:
            x: (B, H, W, C).
            index: (B, k) windows to compute; None for all. The others pass through untouched.

        Returns:
            (B, H, W, C).
        """
        height, width = x.shape[1:3]
        if index is None:
            tokens = windows.window_partition(x, self.window_size, self.shift)  # (B, nW, T, C)
        else:
            if index.shape[1] == 0:
                return x
            tokens = windows.window_gather(x, index, self.window_size, self.shift)  # (B, k, T, C)
        tokens = self._compute(tokens, self._mask(x, index))
        if index is None:
            return windows.window_reverse(tokens, height, width, self.window_size, self.shift)
        return windows.window_scatter(x, tokens, index, self.window_size, self.shift)

    def _compute(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        flat = tokens.flatten(0, 1)  # (B*k, T, C)
        attended = self.attn(self.norm1(flat), mask).view_as(tokens)
        tokens = tokens + self.drop_path(attended)
        return tokens + self.drop_path(self.ffn(self.norm2(tokens)))

    def _mask(self, x: Tensor, index: Tensor | None) -> Tensor | None:
        if not self.shift:
            return None
        batch, height, width, _ = x.shape
        kinds = windows.placed(x.device, windows.window_kinds, height, width, self.window_size, self.shift)
        kinds = kinds.repeat(batch) if index is None else kinds[index].flatten()  # (B*k,)
        return windows.placed(x.device, windows.shift_masks, self.window_size, self.shift)[kinds]  # (B*k, T, T)


class PatchEmbed(nn.Module):
    """4x4 patches to tokens; the image is zero-padded to whole patches."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, dim, PATCH_SIZE, PATCH_SIZE)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, ceil(H/4), ceil(W/4), C)."""
        height, width = images.shape[2:]
        images = F.pad(images, (0, -width % PATCH_SIZE, 0, -height % PATCH_SIZE))
        return self.norm(self.projection(images).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """2x2 tokens to one of twice the channels; concatenated channel-major, as nn.Unfold does."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=NORM_EPS)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C)."""
        batch, height, width, channels = x.shape
        x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        x = x.view(batch, (height + 1) // 2, 2, (width + 1) // 2, 2, channels).permute(0, 1, 3, 5, 2, 4)
        return self.reduction(self.norm(x.reshape(*x.shape[:3], 4 * channels)))  # channel order c*4 + 2*kh + kw


class Stage(nn.Module):
    """Blocks at one resolution, then an optional merge."""

    def __init__(
        self, dim: int, depth: int, num_heads: int, window_size: int, drop_paths: Sequence[float], merge: bool
    ) -> None:
        super().__init__()
        shifts = [0 if j % 2 == 0 else window_size // 2 for j in range(depth)]
        blocks = [
            Block(dim, num_heads, window_size, shift, rate) for shift, rate in zip(shifts, drop_paths, strict=True)
        ]
        self.blocks = cast("Sequence[Block]", nn.ModuleList(blocks))  # PyTorch's list does not say of what
        self.downsample = PatchMerging(dim) if merge else None

    def forward_ratios(self, x: Tensor, ratios: Sequence[float], orders: Mapping[int, Tensor] | None = None) -> Tensor:
        """The reference's schedule: scored at the first pruned block, each parity keeps a prefix of its first list.

        `orders` (shift -> (B, n) window ids, n at least what is kept) replaces the scoring.
        """
        orders = orders or {}
        scored: Tensor | None = None
        lists: dict[int, Tensor] = {}  # shift -> (B, k) of the last block of that parity
        for block, ratio in zip(self.blocks, ratios, strict=True):
            if scored is None and ratio <= 0:
                x = block(x)
                continue
            if scored is None:
                scored = x
            count = kept_windows(windows.window_kinds(*x.shape[1:3], block.window_size, 0).numel(), ratio)
            index = lists.get(block.shift)
            if index is None:
                score = windows.window_score(scored.detach(), block.window_size, block.shift)
                if not 0 <= count <= score.shape[1]:
                    raise PlanError(f"ratio {ratio} would keep {count} of {score.shape[1]} windows; use 0 to 1")
                index = orders[block.shift] if block.shift in orders else score.topk(count, dim=1).indices
            elif count > index.shape[1]:
                raise PlanError(
                    f"ratio {ratio} would keep {count} windows where an earlier block of the same parity kept "
                    f"{index.shape[1]}; ratios must not decrease within a stage"
                )
            lists[block.shift] = index = index[:, :count]
            x = block(x, index)
        return x

    def forward_keep(self, x: Tensor, keep: Sequence[int], orders: Mapping[int, Tensor] | None = None) -> Tensor:
        """The exported file's schedule: scored at the stage's input, one count per block pair.

        `orders` (shift -> (B, nW) window ids) replaces the scoring.
        """
        total = windows.window_kinds(*x.shape[1:3], self.blocks[0].window_size, 0).numel()
        orders = dict(orders or {})
        stage_input = x.detach()
        for j, block in enumerate(self.blocks):
            count = int(keep[j // 2])
            if count == total:
                x = block(x)  # all windows in any order: the dense block
                continue
            if block.shift not in orders:
                score = windows.window_score(stage_input, block.window_size, block.shift)
                orders[block.shift] = score.argsort(dim=1, descending=True)
            x = block(x, orders[block.shift][:, :count])
        return x


class SparseViT(nn.Module):
    """The backbone.

    Args:
        embed_dim: channels of the first stage; doubled by each merge.
        depths: blocks per stage.
        num_heads: attention heads per stage.
        window_size: tokens along one side of a window.
        drop_path_rate: stochastic depth of the last block; rises linearly from 0.
        front_width: channels of the stem of a convolutional front whose maps are added to what the stages take in
            (`front`); 0, as published, for none. Patches and blocks of such a network begin as if they were not there.
    """

    def __init__(
        self,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        drop_path_rate: float = 0.0,
        front_width: int = 0,
    ) -> None:
        super().__init__()
        if len(depths) != len(num_heads):
            raise ValueError(f"depths {tuple(depths)} and num_heads {tuple(num_heads)} differ in length")
        self.embed_dim = embed_dim
        self.depths = tuple(depths)
        self.num_heads = tuple(num_heads)
        self.window_size = window_size
        self.channels = tuple(embed_dim * 2**i for i in range(len(depths)))
        for heads, channels in zip(self.num_heads, self.channels, strict=True):
            if channels % heads:
                raise ValueError(f"{channels} channels do not divide into {heads} heads")
        self.patch_embed = PatchEmbed(embed_dim)
        rates = torch.linspace(0, drop_path_rate, sum(depths)).tolist()
        stages = [
            Stage(
                self.channels[i],
                depth,
                self.num_heads[i],
                window_size,
                [rates.pop(0) for _ in range(depth)],
                merge=i + 1 < len(depths),
            )
            for i, depth in enumerate(self.depths)
        ]
        self.stages = cast("Sequence[Stage]", nn.ModuleList(stages))
        for i, channels in enumerate(self.channels):
            self.add_module(f"norm{i}", nn.LayerNorm(channels, eps=NORM_EPS))
        self.front = Front(front_width, self.channels) if front_width else None
        self.apply(_init_linear)
        if self.front is not None:
            nn.init.zeros_(self.patch_embed.norm.weight)
            for block in (block for stage in self.stages for block in stage.blocks):
                nn.init.zeros_(block.attn.w_msa.proj.weight)
                nn.init.zeros_(block.ffn.contract.weight)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments that rebuild this architecture."""
        front = {} if self.front is None else {"front_width": self.front.width}
        return {
            "embed_dim": self.embed_dim,
            "depths": list(self.depths),
            "num_heads": list(self.num_heads),
            "window_size": self.window_size,
            **front,
        }

    def forward(
        self,
        images: Tensor,
        ratios: Sequence[Sequence[float]] | None = None,
        keep: Sequence[int] | None = None,
        orders: Sequence[Mapping[int, Tensor]] | None = None,
    ) -> list[Tensor]:
        """Feature maps of all stages.

        Args:
            images: (B, 3, H, W) float, normalised RGB.
            ratios: pruning ratio per block, one list per stage, as the reference takes them; None for dense.
            keep: windows to compute per block pair, as an exported file takes them (docs/semantics.md);
                not with `ratios`.
            orders: one mapping per stage: the window ids by descending score for each shift, (B, nW) each, or as many
                as the plan keeps, in place of the network's own scores: compares two runtimes where rounding has
                swapped windows of equal score.

        Returns:
            One normed map (B, C, H, W) per stage, at strides 4, 8, 16, 32.

        Raises:
            PlanError: the plan does not fit the network, or keeps more windows later than earlier.
        """
        if ratios is not None and keep is not None:
            raise PlanError("give either ratios (per block) or keep (per block pair), not both")
        pairs = [-(-d // 2) for d in self.depths]
        if ratios is not None and [len(r) for r in ratios] != list(self.depths):
            raise PlanError(f"ratios have {[len(r) for r in ratios]} blocks per stage, the model {list(self.depths)}")
        if keep is not None and len(keep) != sum(pairs):
            raise PlanError(f"keep has {len(keep)} entries, the model has {sum(pairs)} block pairs")
        x = self.patch_embed(images)  # (B, H/4, W/4, C)
        front_maps = None if self.front is None else self.front(images)
        outputs = []
        start = 0
        for i, stage in enumerate(self.stages):
            if self.front is not None and front_maps is not None:
                x = self.front.projections[i](x, front_maps[i])
            if keep is not None:
                x = stage.forward_keep(x, keep[start : start + pairs[i]], orders[i] if orders else None)
                start += pairs[i]
            else:
                block_ratios = ratios[i] if ratios is not None else [0.0] * self.depths[i]
                x = stage.forward_ratios(x, block_ratios, orders[i] if orders else None)
            outputs.append(getattr(self, f"norm{i}")(x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return outputs


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
