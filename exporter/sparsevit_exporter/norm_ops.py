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


@torch.library.custom_op("sparsevit::feature_map_norm", mutates_args=())
def feature_map_norm(x: Tensor, scale: Tensor, shift: Tensor, epsilon: float, in_float: bool) -> Tensor:
    """What a stage hands out of its map: the norm, channels first.

    Args:
        x: (B, H, W, C).
        scale, shift: (C,) of the norm.
        epsilon: of the norm.
        in_float: answers in float32, whatever x is.

    Returns:
        (B, C, H, W).
    """
    normed = F.layer_norm(x, scale.shape, scale, shift, epsilon)
    return normed.permute(0, 3, 1, 2).to(torch.float32 if in_float else x.dtype, copy=True).contiguous()


@feature_map_norm.register_fake
def _(x: Tensor, scale: Tensor, shift: Tensor, epsilon: float, in_float: bool) -> Tensor:
    batch, height, width, channels = x.shape
    return x.new_empty((batch, channels, height, width), dtype=torch.float32 if in_float else x.dtype)


@torch.library.custom_op("sparsevit::patch_merge_norm", mutates_args=())
def patch_merge_norm(x: Tensor, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """Patches of 2x2 tokens as one token each, and its norm.

    Args:
        x: (B, H, W, C).
        scale, shift: (4C,) of the norm, for the tokens of a patch row by row.
        epsilon: of the norm.

    Returns:
        (B, ceil(H/2), ceil(W/2), 4C). Tokens beyond the map are zeros before the norm.
    """
    rows, columns = x.shape[1] % 2, x.shape[2] % 2
    patches = F.pad(x, (0, 0, 0, columns, 0, rows)).unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3)
    return F.layer_norm(patches.flatten(3), scale.shape, scale, shift, epsilon)  # (B, r, c, 4C)


@patch_merge_norm.register_fake
def _(x: Tensor, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    batch, height, width, channels = x.shape
    return x.new_empty((batch, (height + 1) // 2, (width + 1) // 2, 4 * channels))


def onnx_translations(opset: onnxscript.values.Opset) -> dict[object, Callable]:
    """For `torch.onnx.export`.

    Args:
        opset: opset of the nodes' domain.
    """

    def added(x, update, bias, scale, shift, epsilon: float):
        return opset.AddNorm(x, update, bias, scale, shift, epsilon=epsilon)

    def handed_out(x, scale, shift, epsilon: float, in_float: bool):
        return (opset.FeatureMapNorm32 if in_float else opset.FeatureMapNorm)(x, scale, shift, epsilon=epsilon)

    def merged(x, scale, shift, epsilon: float):
        return opset.PatchMergeNorm(x, scale, shift, height=x.shape[1], width=x.shape[2], epsilon=epsilon)

    namespace = torch.ops.sparsevit
    return {
        namespace.add_norm.default: added,
        namespace.feature_map_norm.default: handed_out,
        namespace.patch_merge_norm.default: merged,
    }
