"""The operations that a block is made of as torch custom ops, so that a trace keeps each of them as one ONNX node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxscript
import torch
from torch import Tensor

from sparsevit_runtime.windows.geometry import StageGeometry

from . import windows


@torch.library.custom_op("sparsevit::window_rank", mutates_args=())
def window_rank(x: Tensor, window_size: int, shift: int) -> Tensor:
    """See `windows.window_rank`."""
    return windows.window_rank(x, window_size, shift)


@window_rank.register_fake
def _(x: Tensor, window_size: int, shift: int) -> Tensor:
    batch, height, width, _ = x.shape
    return x.new_empty((batch, StageGeometry(height, width, window_size, 1).windows), dtype=torch.int32)


@torch.library.custom_op("sparsevit::window_gather_norm", mutates_args=())
def window_gather_norm(
    x: Tensor, index: Tensor, scale: Tensor, bias: Tensor, window_size: int, shift: int, epsilon: float
) -> tuple[Tensor, Tensor]:
    """See `windows.window_gather_norm`."""
    return windows.window_gather_norm(x, index, scale, bias, window_size, shift, epsilon)


@window_gather_norm.register_fake
def _(
    x: Tensor, index: Tensor, scale: Tensor, bias: Tensor, window_size: int, shift: int, epsilon: float
) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], index.shape[1] * window_size * window_size, x.shape[3])
    return x.new_empty(shape), x.new_empty(shape)


@torch.library.custom_op("sparsevit::window_attention", mutates_args=())
def window_attention(
    qkv: Tensor, qkv_bias: Tensor, index: Tensor, kind: Tensor, position_bias: Tensor, heads: int, window_size: int
) -> Tensor:
    """See `windows.window_attention`."""
    return windows.window_attention(qkv, qkv_bias, index, kind, position_bias, heads, window_size)


@window_attention.register_fake
def _(
    qkv: Tensor, qkv_bias: Tensor, index: Tensor, kind: Tensor, position_bias: Tensor, heads: int, window_size: int
) -> Tensor:
    return qkv.new_empty((*qkv.shape[:2], qkv.shape[2] // 3))


@torch.library.custom_op("sparsevit::window_scatter_add", mutates_args=())
def window_scatter_add(
    x: Tensor, tokens: Tensor, update: Tensor, bias: Tensor, index: Tensor, window_size: int, shift: int
) -> Tensor:
    """See `windows.window_scatter_add`."""
    return windows.window_scatter_add(x, tokens, update, bias, index, window_size, shift).clone()


@window_scatter_add.register_fake
def _(x: Tensor, tokens: Tensor, update: Tensor, bias: Tensor, index: Tensor, window_size: int, shift: int) -> Tensor:
    return torch.empty_like(x)


def window_attributes(x: Any, window_size: int, shift: int) -> dict[str, int]:
    """Attributes of a node over the windows of a map, (B, H, W, C) of a trace."""
    return {"height": x.shape[1], "width": x.shape[2], "window_size": window_size, "shift": shift}


def onnx_translations(opset: onnxscript.values.Opset) -> dict[object, Callable]:
    """For `torch.onnx.export`.

    Args:
        opset: opset of the nodes' domain.
    """

    def ranked(x, window_size: int, shift: int):
        return opset.WindowRank(x, **window_attributes(x, window_size, shift))

    def gathered(x, index, scale, bias, window_size: int, shift: int, epsilon: float):
        return opset.WindowGatherNorm(
            x, index, scale, bias, epsilon=epsilon, **window_attributes(x, window_size, shift)
        )

    def attended(qkv, qkv_bias, index, kind, position_bias, heads: int, window_size: int):
        return opset.WindowAttention(qkv, qkv_bias, index, kind, position_bias, heads=heads, window_size=window_size)

    def scattered(x, tokens, update, bias, index, window_size: int, shift: int):
        return opset.WindowScatterAdd(x, tokens, update, bias, index, **window_attributes(x, window_size, shift))

    namespace = torch.ops.sparsevit
    return {
        namespace.window_rank.default: ranked,
        namespace.window_gather_norm.default: gathered,
        namespace.window_attention.default: attended,
        namespace.window_scatter_add.default: scattered,
    }
