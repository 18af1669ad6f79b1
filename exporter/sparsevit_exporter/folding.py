"""What export folds into the backbone's weights, each fold beside its undoing.

Matrices here are (out, in) and tensors float32, as the trained network has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsevit_runtime.windows.geometry import PATCH_SIZE

from .windows import relative_position_index

#: Beyond it the shift mask's -100 has been added to a relative position bias.
_MASKED = -50.0


def fold_pixels(
    weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float], centred: bool
) -> tuple[Tensor, Tensor]:
    """Puts the normalisation of pixels, and their order in memory, into the patch embedding.

    Args:
        weight: (C, 3, 4, 4) over normalised RGB.
        bias: (C,).
        mean, std: normalisation of RGB in bytes.
        centred: the mean has been subtracted from the pixels, so that the bias stays.

    Returns:
        Weight (C, 48) over 4x4 BGR bytes, and bias (C,).
    """
    scaled, shifted = fold_colours(weight, bias, mean, std)
    return as_patches(scaled), bias.float() if centred else shifted


def unfold_pixels(
    weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float], centred: bool
) -> tuple[Tensor, Tensor]:
    """Undoes `fold_pixels`."""
    trained, shifted = unfold_colours(from_patches(weight), bias, mean, std)
    return trained, bias.float() if centred else shifted


def fold_colours(weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """From a convolution's weight (C, 3, h, w) over normalised RGB and bias (C,) to those over BGR bytes."""
    centre, scale = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std))
    scaled = weight.double() / scale
    return scaled.flip(1).float(), (bias.double() - (scaled * centre).sum((1, 2, 3))).float()


def unfold_colours(weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Undoes `fold_colours`."""
    centre, scale = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std))
    scaled = weight.flip(1).double()
    return (scaled * scale).float(), (bias.double() + (scaled * centre).sum((1, 2, 3))).float()


def as_patches(weight: Tensor) -> Tensor:
    """(C, 3, 4, 4) -> (C, 48), the colours of a pixel side by side."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def from_patches(weight: Tensor) -> Tensor:
    """Undoes `as_patches`."""
    return weight.unflatten(1, (PATCH_SIZE, PATCH_SIZE, 3)).permute(0, 3, 1, 2)


def fold_scale(qkv: Tensor, heads: int) -> Tensor:
    """Of a joint weight (3C, C) or bias (3C,) the query's third, the first, takes the attention's scale."""
    q, k, v = qkv.chunk(3)
    return torch.cat([q * (q.shape[0] // heads) ** -0.5, k, v])


def unfold_scale(qkv: Tensor, heads: int) -> Tensor:
    """Undoes `fold_scale`."""
    q, k, v = qkv.chunk(3)
    return torch.cat([q / (q.shape[0] // heads) ** -0.5, k, v])


def fold_merge(tensor: Tensor) -> Tensor:
    """(..., 4C) from the reference's order of merged channels to memory's: c*4 + g to g*C + c, g = 2*row + column."""
    return tensor.unflatten(-1, (-1, 4)).transpose(-1, -2).flatten(-2)


def unfold_merge(tensor: Tensor) -> Tensor:
    """Undoes `fold_merge`."""
    return tensor.unflatten(-1, (4, -1)).transpose(-1, -2).flatten(-2)


def fold_bias(table: Tensor, window_size: int, masks: Tensor) -> Tensor:
    """Spreads the relative position biases over pairs of tokens, and adds the masks.

    Args:
        table: ((2*window_size - 1)**2, heads).
        window_size: w, tokens along one side.
        masks: (kinds, T, T) additive, T = w**2.

    Returns:
        (kinds, heads, T, T).
    """
    bias = table[relative_position_index(window_size)].permute(2, 0, 1)  # (h, T, T)
    return bias[None] + masks[:, None]


def unfold_bias(bias: Tensor, window_size: int) -> Tensor:
    """Undoes `fold_bias`: in some kind, or at some pair, most offsets are not masked. (kinds, h, T, T) or (h, T, T)."""
    values = bias.reshape(-1, *bias.shape[-3:]).amax(0).flatten(1).t()  # (T*T, h)
    index = relative_position_index(window_size).flatten()[:, None].expand_as(values)
    table = values.new_full(((2 * window_size - 1) ** 2, values.shape[1]), -torch.inf)
    table = table.scatter_reduce(0, index, values, "amax")
    return torch.where(table < _MASKED, table + 100.0, table)
