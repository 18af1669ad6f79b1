"""The operations at a network's two ends as torch custom ops, so that a trace keeps each of them as one ONNX node."""

from __future__ import annotations

from collections.abc import Callable

import onnxscript
import torch
import torch.nn.functional as F
from torch import Tensor

from sparsevit_runtime.windows.geometry import PATCH_SIZE


@torch.library.custom_op("sparsevit::patch_embed", mutates_args=())
def patch_embed(
    image: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    scale: Tensor,
    shift: Tensor,
    pad_multiple: int,
    epsilon: float,
) -> Tensor:
    """Camera bytes to tokens, in float32 up to the end of the norm.

    Args:
        image: (B, H, W, 3) uint8 BGR.
        weight: (48, C) float32 over the bytes of 4x4 pixels.
        bias: (C,) float32, in which the mean is.
        mean: (3,) float32, the bytes that pixels of the padding count as.
        scale, shift: (C,) of the norm, in the tokens' type.
        pad_multiple: number of pixels that both sides are padded to a multiple of, a multiple of a patch's.
        epsilon: of the norm.

    Returns:
        (B, rows of patches, columns of patches, C).
    """
    batch, height, width, _ = image.shape
    rows, columns = _patches(height, pad_multiple), _patches(width, pad_multiple)
    # Pixels of the padding are zero once the mean is taken from all, and the bias is given it back.
    centred = F.pad(image.float() - mean, (0, 0, 0, columns * PATCH_SIZE - width, 0, rows * PATCH_SIZE - height))
    patches = centred.view(batch, rows, PATCH_SIZE, columns, PATCH_SIZE, 3).transpose(2, 3).flatten(3)  # (B, r, c, 48)
    embedded = patches @ weight + (bias + mean.repeat(PATCH_SIZE**2) @ weight)
    normed = F.layer_norm(embedded, bias.shape, scale.float(), shift.float(), epsilon)
    return normed.to(scale.dtype, copy=True)


@patch_embed.register_fake
def _(
    image: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    scale: Tensor,
    shift: Tensor,
    pad_multiple: int,
    epsilon: float,
) -> Tensor:
    batch, height, width, _ = image.shape
    shape = (batch, _patches(height, pad_multiple), _patches(width, pad_multiple), bias.shape[0])
    return image.new_empty(shape, dtype=scale.dtype)


def _patches(size: int, pad_multiple: int) -> int:
    """Patches along a side of so many pixels."""
    return (size + -size % pad_multiple) // PATCH_SIZE


@torch.library.custom_op("sparsevit::label_decode", mutates_args=())
def label_decode(logits: Tensor, scale: int, height: int, width: int) -> Tensor:
    """The class of the highest score for each label; of equals the first.

    Args:
        logits: (B, K, h, w).
        scale: labels for each score, along one side; the surplus beyond (height, width) is cropped.
        height, width: size of the label map.

    Returns:
        (B, height, width) uint8.
    """
    scores = logits.float()
    if scale > 1:
        scores = F.interpolate(scores, scale_factor=float(scale), mode="bilinear", align_corners=False)
    return scores[:, :, :height, :width].argmax(1).to(torch.uint8)


@label_decode.register_fake
def _(logits: Tensor, scale: int, height: int, width: int) -> Tensor:
    return logits.new_empty((logits.shape[0], height, width), dtype=torch.uint8)


def onnx_translations(opset: onnxscript.values.Opset) -> dict[object, Callable]:
    """For `torch.onnx.export`.

    Args:
        opset: opset of the nodes' domain.
    """

    def embedded(image, weight, bias, mean, scale, shift, pad_multiple: int, epsilon: float):
        of = {"height": image.shape[1], "width": image.shape[2], "pad_multiple": pad_multiple, "epsilon": epsilon}
        return opset.PatchEmbed(image, weight, bias, mean, scale, shift, **of)

    def decoded(logits, scale: int, height: int, width: int):
        return opset.LabelDecode(logits, scale=scale, height=height, width=width)

    namespace = torch.ops.sparsevit
    return {namespace.patch_embed.default: embedded, namespace.label_decode.default: decoded}
