"""The operations of `norm_nodes` as torch custom ops, so that a trace keeps each of them as one ONNX node."""

from __future__ import annotations

from collections.abc import Callable

import onnxscript
import torch
import torch.nn.functional as F
from torch import Tensor


@torch.library.custom_op("sparsevit::add_norm", mutates_args=())
def add_norm(
    x: Tensor, update: Tensor, bias: Tensor, scale: Tensor, shift: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """The residual sum behind a layer, and its LayerNorm.

    Args:
        x, update: (..., C).
        bias: (C,), of the layer that gave the update.
        scale, shift: (C,) of the norm.
        epsilon: of the norm.

    Returns:
        x + (update + bias), rounded once, and its norm, (..., C) each.
    """
    total = (x.float() + (update.float() + bias.float())).to(x.dtype)
    return total, F.layer_norm(total, scale.shape, scale, shift, epsilon)


@add_norm.register_fake
def _(x: Tensor, update: Tensor, bias: Tensor, scale: Tensor, shift: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


def onnx_translations(opset: onnxscript.values.Opset) -> dict[object, Callable]:
    """For `torch.onnx.export`.

    Args:
        opset: opset of the nodes' domain.
    """

    def added(x, update, bias, scale, shift, epsilon: float):
        return opset.AddNorm(x, update, bias, scale, shift, epsilon=epsilon)

    return {torch.ops.sparsevit.add_norm.default: added}
