"""Modules of plain matrix products: embedding, merging, feed-forward layers, and the product that all are made of."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsevit_runtime.windows.geometry import PATCH_SIZE

from .. import ends_ops, norm_ops, ops
from ..backbone import Block, PatchEmbed, PatchMerging
from ..folding import as_patches, fold_merge, fold_pixels


class Product(nn.Module):
    """A linear layer whose matrix lies as a graph multiplies by it, (in, out), so that the trace has nothing to turn.

    Args:
        weight: (out, in), as a linear layer has it.
        bias: (out,), or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().t().clone(memory_format=torch.contiguous_format))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, x: Tensor, add_bias: bool = True) -> Tensor:
        """(..., in) -> (..., out); without its bias where who reads it adds that."""
        product = ops.matmul(x, self.weight)
        return product + self.bias if add_bias and self.bias is not None else product


class DeployedPatchEmbed(nn.Module):
    """An image to tokens, as one matrix product over 4x4x3 values; in float32 (it is small) up to its norm.

    Args:
        embed: trained.
        height, width: size of the image in pixels.
        pad_multiple: number of pixels that the image is padded to a multiple of, a multiple of a patch's.
        mean, std: RGB normalisation, in bytes.
        camera: the input is (B, H, W, 3) uint8 BGR; else it is (B, 3, H, W) float32 RGB, already normalised.
        dtype: type of the tokens.
    """

    mean: Tensor

    def __init__(
        self,
        embed: PatchEmbed,
        height: int,
        width: int,
        pad_multiple: int,
        mean: Sequence[float],
        std: Sequence[float],
        camera: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.camera, self.dtype, self.pad_multiple = camera, dtype, pad_multiple
        assert embed.projection.bias is not None
        weight, bias = embed.projection.weight.detach(), embed.projection.bias.detach()
        self.norm = copy.deepcopy(embed.norm)
        if camera:
            # The reference pads the normalised image with zeros, which are the mean in bytes.
            self.byte_projection = Product(*fold_pixels(weight, bias, mean, std, centred=False))  # 48 to C
            self.register_buffer("mean", torch.tensor(list(mean)[::-1], dtype=torch.float32))  # BGR
            self.norm.to(dtype)
        else:
            self.projection = Product(as_patches(weight), bias)  # 48 to C
            self.pads = (-height % pad_multiple, -width % pad_multiple)

    def forward(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 BGR, or (B, 3, H, W) float32 normalised -> (B, H/4, W/4, C)."""
        if self.camera:
            weight, bias = self.byte_projection.weight, self.byte_projection.bias
            norm = self.norm
            return ends_ops.patch_embed(
                image, weight, bias, self.mean, norm.weight, norm.bias, self.pad_multiple, norm.eps
            )
        pixels = image.permute(0, 2, 3, 1)  # (B, H, W, 3)
        if any(self.pads):
            pixels = F.pad(pixels, (0, 0, 0, self.pads[1], 0, self.pads[0]))
        rows, columns = pixels.shape[1] // PATCH_SIZE, pixels.shape[2] // PATCH_SIZE
        patches = ops.reshape(pixels, (0, rows, PATCH_SIZE, columns, PATCH_SIZE, 3)).permute(0, 1, 3, 2, 4, 5)
        patches = ops.reshape(patches, (0, rows, columns, PATCH_SIZE * PATCH_SIZE * 3))  # (B, H/4, W/4, 48)
        return self.norm(self.projection(patches)).to(self.dtype)


class FeedForward(nn.Module):
    """Two layers with GELU between them.

    Args:
        block: trained.
        residual: the norm before them, the last layer's bias and the sum with what came in belong to it; else others
            normalise and add up.
    """

    def __init__(self, block: Block, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.norm = copy.deepcopy(block.norm2)
        expand, contract = block.ffn.expand, block.ffn.contract
        self.expand = Product(expand.weight, expand.bias)
        self.contract = Product(contract.weight, contract.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, C) -> (B, n, C)."""
        assert self.expand.bias is not None
        normed = self.norm(x) if self.residual else x
        hidden = ops.linear_gelu(normed, self.expand.weight, self.expand.bias)
        update = self.contract(hidden, add_bias=self.residual)
        return x + update if self.residual else update


class DeployedMerging(nn.Module):
    """2x2 tokens concatenated as they lie in memory; weights permuted to match."""

    def __init__(self, merging: PatchMerging) -> None:
        super().__init__()
        self.norm = copy.deepcopy(merging.norm)
        with torch.no_grad():
            for ours, theirs in ((self.norm.weight, merging.norm.weight), (self.norm.bias, merging.norm.bias)):
                ours.copy_(fold_merge(theirs))
        self.reduction = Product(fold_merge(merging.reduction.weight))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C)."""
        norm = self.norm
        return self.reduction(norm_ops.patch_merge_norm(x, norm.weight, norm.bias, norm.eps))
