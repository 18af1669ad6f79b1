"""A block that computes all windows, in plain operators: no list of windows, no node of our own."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from sparsevit_runtime.windows.geometry import StageGeometry

from .. import ops, windows
from ..backbone import Block
from ..folding import fold_scale
from .block import position_biases
from .dense import FeedForward, Product


class Gather(nn.Module):
    """Tokens of all windows in their own order."""

    def __init__(self, geometry: StageGeometry, shift: int) -> None:
        super().__init__()
        self.size, self.shift = geometry.window_size, shift

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, nW*T, C), the rank at which runtimes fuse sums and norms."""
        return ops.reshape(windows.window_partition(x, self.size, self.shift), (0, -1, x.shape[3]))


class Scatter(nn.Module):
    """Puts all windows back in their places."""

    def __init__(self, geometry: StageGeometry, shift: int) -> None:
        super().__init__()
        self.geometry, self.shift = geometry, shift

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, nW*T, C) -> (B, H, W, C)."""
        geometry, size = self.geometry, self.geometry.window_size
        tokens = ops.reshape(tokens, (0, -1, size * size, tokens.shape[2]))
        return windows.window_reverse(tokens, geometry.height, geometry.width, size, self.shift)


class Attention(nn.Module):
    """Norm, attention within each window, and the sum with what came in."""

    position_bias: Tensor
    kind: Tensor | None

    def __init__(self, block: Block, geometry: StageGeometry) -> None:
        super().__init__()
        attention = block.attn.w_msa
        self.heads, self.head_dim = attention.num_heads, attention.head_dim
        self.tokens = geometry.window_size**2
        self.norm = copy.deepcopy(block.norm1)
        weight, bias = (fold_scale(t, self.heads).chunk(3) for t in (attention.qkv.weight, attention.qkv.bias))
        self.q, self.k, self.v = (Product(*part) for part in zip(weight, bias, strict=True))
        self.proj = Product(attention.proj.weight, attention.proj.bias)
        biases, kind = position_biases(block, geometry)
        # One bias for all windows, or for each kind of window that occurs: (h, T, T), or (kinds, h, T, T).
        self.register_buffer("position_bias", biases.squeeze(0).contiguous())
        self.register_buffer("kind", kind if len(biases) > 1 else None)  # (nW,)

    def forward(self, x: Tensor) -> Tensor:
        """(B, nW*T, C) -> (B, nW*T, C)."""
        split = (0, -1, self.tokens, self.heads, self.head_dim)
        normed = self.norm(x)
        q = ops.reshape(self.q(normed), split).permute(0, 1, 3, 2, 4)  # (B, nW, h, T, d)
        k = ops.reshape(self.k(normed), split).permute(0, 1, 3, 4, 2)  # (B, nW, h, d, T)
        v = ops.reshape(self.v(normed), split).permute(0, 1, 3, 2, 4)  # (B, nW, h, T, d)
        bias = self.position_bias if self.kind is None else self.position_bias[self.kind]
        scores = ops.matmul(q, k) + bias  # (B, nW, h, T, T)
        # Softmax in float32: half precision loses the small probabilities beside the -100 of the mask.
        probabilities = scores.float().softmax(-1).to(v.dtype)
        out = ops.reshape(ops.matmul(probabilities, v).transpose(2, 3), (0, -1, x.shape[2]))  # (B, nW*T, C)
        return x + self.proj(out)


class PlainBlock(nn.Module):
    """A block over all windows."""

    def __init__(self, block: Block, geometry: StageGeometry) -> None:
        super().__init__()
        self.shift = block.shift
        self.gather = Gather(geometry, block.shift)
        self.attention = Attention(block, geometry)
        self.mlp = FeedForward(block, residual=True)
        self.scatter = Scatter(geometry, block.shift)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return self.scatter(self.mlp(self.attention(self.gather(x))))
