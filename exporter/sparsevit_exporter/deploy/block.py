"""A block, part by part: windows gathered, attended to, put through the feed-forward layers, scattered."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from sparsevit_runtime.windows.geometry import StageGeometry

from .. import ops, windows
from ..backbone import Block
from ..folding import fold_bias, fold_scale
from .dense import Product


class Gather(nn.Module):
    """Tokens of the strongest windows (custom node), or of all windows in plain operators."""

    def __init__(self, geometry: StageGeometry, shift: int) -> None:
        super().__init__()
        self.size, self.shift = geometry.window_size, shift

    def forward(self, x: Tensor, order: Tensor | None, count: int | None) -> tuple[Tensor, Tensor | None]:
        """Gathers.

        Args:
            x: (B, H, W, C).
            order: (B, n) windows by descending score; None for all in their own order.
            count: k, how many of them.

        Returns:
            Tokens (B, k*T, C), the rank at which runtimes fuse sums and norms, and the windows (B, k), None for all.
        """
        if order is None:
            tokens, index = windows.window_partition(x, self.size, self.shift), None
        else:
            index = order[:, :count]
            tokens = ops.window_gather(x, index, self.size, self.shift)
        return ops.reshape(tokens, (0, -1, x.shape[3])), index


class Scatter(nn.Module):
    """Puts computed windows back in their places."""

    def __init__(self, geometry: StageGeometry, shift: int) -> None:
        super().__init__()
        self.geometry, self.shift = geometry, shift

    def forward(self, x: Tensor, tokens: Tensor, index: Tensor | None) -> Tensor:
        """(B, H, W, C), and what `Gather` gave: tokens and their windows -> (B, H, W, C)."""
        size = self.geometry.window_size
        tokens = ops.reshape(tokens, (0, -1, size * size, x.shape[3]))
        if index is None:
            return windows.window_reverse(tokens, self.geometry.height, self.geometry.width, size, self.shift)
        return ops.window_scatter(x, tokens, index, size, self.shift)


class DeployedAttention(nn.Module):
    """Norm, attention within each window, and the sum with what came in."""

    bias: Tensor
    kind: Tensor | None

    def __init__(self, block: Block, geometry: StageGeometry) -> None:
        super().__init__()
        attention = block.attn.w_msa
        self.heads, self.head_dim = attention.num_heads, attention.head_dim
        self.tokens = geometry.window_size**2
        self.norm = copy.deepcopy(block.norm1)
        weights, biases = (fold_scale(t, self.heads) for t in (attention.qkv.weight, attention.qkv.bias))
        self.q, self.k, self.v = (Product(weight, bias) for weight, bias in zip(weights, biases, strict=True))
        self.proj = Product(attention.proj.weight, attention.proj.bias)
        size = geometry.window_size
        kinds = windows.window_kinds(geometry.height, geometry.width, size, block.shift)  # (nW,)
        present, local = torch.unique(kinds, return_inverse=True)
        masks = windows.shift_masks(size, block.shift)[present]  # (kinds, T, T)
        bias = fold_bias(attention.relative_position_bias_table.detach(), size, masks)
        # One bias for all windows, or for each kind of window that occurs: (h, T, T), or (kinds, h, T, T).
        self.register_buffer("bias", bias.squeeze(0).contiguous())
        self.register_buffer("kind", local if len(present) > 1 else None)  # (nW,)

    def forward(self, x: Tensor, index: Tensor | None) -> Tensor:
        """(B, k*T, C), the windows (B, k) or None for all -> (B, k*T, C)."""
        split = (0, -1, self.tokens, self.heads, self.head_dim)
        normed = self.norm(x)
        q = ops.reshape(self.q(normed), split).permute(0, 1, 3, 2, 4)  # (B, k, h, T, d)
        k = ops.reshape(self.k(normed), split).permute(0, 1, 3, 4, 2)  # (B, k, h, d, T)
        v = ops.reshape(self.v(normed), split).permute(0, 1, 3, 2, 4)  # (B, k, h, T, d)
        scores = ops.matmul(q, k) + self._bias(index)  # (B, k, h, T, T)
        # Softmax in float32: half precision loses the small probabilities beside the -100 of the mask.
        probabilities = scores.float().softmax(-1).to(v.dtype)
        out = ops.reshape(ops.matmul(probabilities, v).transpose(2, 3), (0, -1, x.shape[2]))  # (B, k*T, C)
        return x + self.proj(out)

    def _bias(self, index: Tensor | None) -> Tensor:
        if self.kind is None:
            return self.bias  # (h, T, T)
        if index is None:
            return self.bias[self.kind]  # (nW, h, T, T)
        return ops.select(self.bias, ops.select(self.kind, index))  # (B, k, h, T, T)


class DeployedFeedForward(nn.Module):
    """Norm, two layers with GELU between them, and the sum with what came in."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm = copy.deepcopy(block.norm2)
        expand, contract = block.ffn.expand, block.ffn.contract
        self.expand = Product(expand.weight, expand.bias)
        self.contract = Product(contract.weight, contract.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, k*T, C) -> (B, k*T, C)."""
        return x + self.contract(_gelu(self.expand(self.norm(x))))


def _gelu(x: Tensor) -> Tensor:
    """Exact GELU in the form that ONNX Runtime and TensorRT recognise as one operator."""
    return x * (torch.erf(x / math.sqrt(2.0)) + 1.0) * 0.5


class DeployedBlock(nn.Module):
    """A block over the strongest windows, or over all of them in plain operators."""

    def __init__(self, block: Block, geometry: StageGeometry) -> None:
        super().__init__()
        self.shift = block.shift
        self.gather = Gather(geometry, block.shift)
        self.attention = DeployedAttention(block, geometry)
        self.mlp = DeployedFeedForward(block)
        self.scatter = Scatter(geometry, block.shift)

    def forward(self, x: Tensor, order: Tensor | None = None, count: int | None = None) -> Tensor:
        """(B, H, W, C), (B, n) windows by descending score and how many to compute, None for all -> (B, H, W, C)."""
        tokens, index = self.gather(x, order, count)
        return self.scatter(x, self.mlp(self.attention(tokens, index)), index)
