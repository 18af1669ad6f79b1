"""A block of which windows are chosen, part by part: gathered, attended to, put through the feed-forward layers,
scattered; each of these parts but the products is a node of its own."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sparsevit_runtime.windows.geometry import StageGeometry

from .. import block_ops, norm_ops, ops, windows
from ..backbone import Block
from ..folding import fold_bias, fold_scale
from .dense import FeedForward, Product


class Gather(nn.Module):
    """Tokens of the strongest windows, and their norm."""

    def __init__(self, geometry: StageGeometry, shift: int) -> None:
        super().__init__()
        self.size, self.shift = geometry.window_size, shift

    def forward(
        self, x: Tensor, order: Tensor, count: int | Tensor, norm: nn.LayerNorm
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gathers.

        Args:
            x: (B, H, W, C).
            order: (B, n) windows by descending score.
            count: k, how many of them; (1,) int64 where the graph is told.
            norm: norm of what comes next.

        Returns:
            Tokens and normalised tokens, (B, k*T, C) each, the rank at which runtimes fuse sums and norms; and the
            windows (B, k).
        """
        index = ops.first(order, count) if isinstance(count, Tensor) else order[:, :count]
        tokens, normed = block_ops.window_gather_norm(x, index, norm.weight, norm.bias, self.size, self.shift, norm.eps)
        return tokens, normed, index


class Scatter(nn.Module):
    """Puts sums in the places of windows."""

    def __init__(self, geometry: StageGeometry, shift: int) -> None:
        super().__init__()
        self.size, self.shift = geometry.window_size, shift

    def forward(self, x: Tensor, tokens: Tensor, update: Tensor, bias: Tensor, index: Tensor) -> Tensor:
        """(B, H, W, C), the summands (B, k*T, C) twice and (C,), their windows (B, k) -> (B, H, W, C)."""
        return block_ops.window_scatter_add(x, tokens, update, bias, index, self.size, self.shift)


class Attention(nn.Module):
    """Attention within each window, the sum with what came in, and the sum's norm."""

    position_bias: Tensor
    kind: Tensor

    def __init__(self, block: Block, geometry: StageGeometry) -> None:
        super().__init__()
        attention = block.attn.w_msa
        self.heads, self.size = attention.num_heads, geometry.window_size
        self.norm = copy.deepcopy(block.norm1)
        self.qkv = Product(*(fold_scale(t, self.heads) for t in (attention.qkv.weight, attention.qkv.bias)))
        self.proj = Product(attention.proj.weight, attention.proj.bias)
        bias, kind = position_biases(block, geometry)
        self.register_buffer("position_bias", bias)
        self.register_buffer("kind", kind.int())

    def forward(self, tokens: Tensor, normed: Tensor, index: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        """Attends.

        Args:
            tokens, normed, index: what `Gather` gave, (B, k*T, C) twice and the windows (B, k).
            norm: norm of what comes next.

        Returns:
            Tokens and normalised tokens, (B, k*T, C) each.
        """
        qkv = self.qkv(normed, add_bias=False)
        assert self.qkv.bias is not None and self.proj.bias is not None
        mixed = block_ops.window_attention(
            qkv, self.qkv.bias, index, self.kind, self.position_bias, self.heads, self.size
        )
        update = self.proj(mixed, add_bias=False)
        return norm_ops.add_norm(tokens, update, self.proj.bias, norm.weight, norm.bias, norm.eps)


class DeployedBlock(nn.Module):
    """A block over the strongest windows."""

    def __init__(self, block: Block, geometry: StageGeometry) -> None:
        super().__init__()
        self.shift = block.shift
        self.gather = Gather(geometry, block.shift)
        self.attention = Attention(block, geometry)
        self.mlp = FeedForward(block, residual=False)
        self.scatter = Scatter(geometry, block.shift)

    def forward(self, x: Tensor, order: Tensor, count: int | Tensor) -> Tensor:
        """(B, H, W, C), (B, n) windows by descending score and how many to compute -> (B, H, W, C)."""
        tokens, normed, index = self.gather(x, order, count, self.attention.norm)
        tokens, normed = self.attention(tokens, normed, index, self.mlp.norm)
        return self.scatter(x, tokens, self.mlp(normed), self.mlp.contract.bias, index)


def position_biases(block: Block, geometry: StageGeometry) -> tuple[Tensor, Tensor]:
    """Position biases of a block's windows, their masks included.

    Returns:
        A bias for each kind of window that occurs, (kinds, h, T, T), and the kind of each window, (nW,) int64.
    """
    size = geometry.window_size
    kinds = windows.window_kinds(geometry.height, geometry.width, size, block.shift)
    present, kind = torch.unique(kinds, return_inverse=True)
    masks = windows.shift_masks(size, block.shift)[present]  # (kinds, T, T)
    table = block.attn.w_msa.relative_position_bias_table.detach()
    return fold_bias(table, size, masks).contiguous(), kind
