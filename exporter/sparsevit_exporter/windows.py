"""Window arithmetic on token maps, in plain differentiable PyTorch.

Maps are (B, H, W, C). A window is `window_size` x `window_size` tokens of the map padded with zeros at the bottom and
right to whole windows; windows are numbered row by row. Shifted windows tile the padded map rolled by `-shift`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps

import torch
from torch import Tensor

from sparsevit_runtime.windows.geometry import StageGeometry


def _kept(maxsize: int) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Remembers the tensors that a function makes, but none that belongs to a trace or to inference mode.

    What is made while a trace runs is of use to that trace alone, and autograd refuses what inference mode made.
    """

    def decorate(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @lru_cache(maxsize=maxsize)
        def kept(*arguments: object) -> Tensor:
            with torch.inference_mode(False):
                return make(*arguments)

        @wraps(make)
        def table(*arguments: object) -> Tensor:
            tracing = type(torch.empty(0)) is not Tensor
            return make(*arguments) if tracing else kept(*arguments)

        return table

    return decorate


@_kept(maxsize=512)
def placed(device: torch.device, table: Callable[..., Tensor], *arguments: int) -> Tensor:
    """One of the tables below on a device, copied there once: a copy at every use would have a GPU wait for it."""
    return table(*arguments).to(device)


@_kept(maxsize=256)
def token_table(height: int, width: int, window_size: int, shift: int) -> Tensor:
    """Row-major address on the (height, width) map of every token of every window.

    Returns:
        (nW, window_size**2) int64; padding tokens have the address ``height * width``.
    """
    geometry = StageGeometry(height, width, window_size, depth=1)
    padded_height, padded_width = geometry.padded_hw
    rows = (torch.arange(padded_height) + shift) % padded_height  # row of the map at each row of the rolled map
    columns = (torch.arange(padded_width) + shift) % padded_width
    address = torch.where(
        (rows < height)[:, None] & (columns < width)[None, :], rows[:, None] * width + columns, height * width
    )  # (Hp, Wp)
    n_rows, n_columns = geometry.windows_hw
    tiles = address.view(n_rows, window_size, n_columns, window_size).permute(0, 2, 1, 3)
    return tiles.reshape(n_rows * n_columns, window_size * window_size)


def _addresses(x: Tensor, index: Tensor, window_size: int, shift: int) -> Tensor:
    """Address of each listed token among the B*H*W rows of x, (B, k, T); padding gets B*H*W."""
    batch, height, width, _ = x.shape
    local = placed(x.device, token_table, height, width, window_size, shift)[index.long()]  # (B, k, T)
    offset = torch.arange(batch, device=x.device).view(-1, 1, 1) * (height * width)
    return torch.where(local < height * width, local + offset, batch * height * width)


def window_score(x: Tensor, window_size: int, shift: int) -> Tensor:
    """L2 norm over each window of the tokens' mean absolute activation (docs/semantics.md).

    Args:
        x: (B, H, W, C).

    Returns:
        (B, nW) float32. Padding counts as zero, so border windows are biased low, as in the reference.
    """
    batch, height, width, _ = x.shape
    magnitude = x.float().abs().mean(-1).reshape(batch, height * width)  # (B, HW)
    magnitude = torch.cat([magnitude, magnitude.new_zeros(batch, 1)], dim=1)
    table = placed(x.device, token_table, height, width, window_size, shift)
    return magnitude[:, table].square().sum(-1).sqrt()  # (B, nW)


def window_gather(x: Tensor, index: Tensor, window_size: int, shift: int) -> Tensor:
    """Tokens of the listed windows.

    Args:
        x: (B, H, W, C).
        index: (B, k) window ids.

    Returns:
        (B, k, window_size**2, C); padding tokens are zero.
    """
    batch, height, width, channels = x.shape
    rows = x.reshape(batch * height * width, channels)
    if StageGeometry(height, width, window_size, 1).is_padded:
        rows = torch.cat([rows, rows.new_zeros(1, channels)])
    address = _addresses(x, index, window_size, shift)
    return rows.index_select(0, address.flatten()).view(*address.shape, channels)


def window_scatter(x: Tensor, windows: Tensor, index: Tensor, window_size: int, shift: int) -> Tensor:
    """The map with the listed windows replaced.

    Args:
        x: (B, H, W, C).
        windows: (B, k, window_size**2, C); padding tokens are dropped.
        index: (B, k) window ids, distinct within a sample.

    Returns:
        (B, H, W, C), a new tensor.
    """
    batch, height, width, channels = x.shape
    rows = x.reshape(batch * height * width, channels)
    if StageGeometry(height, width, window_size, 1).is_padded:
        rows = torch.cat([rows, rows.new_zeros(1, channels)])
    address = _addresses(x, index, window_size, shift)
    rows = rows.index_copy(0, address.flatten(), windows.reshape(-1, channels).to(rows.dtype))
    return rows[: batch * height * width].view(batch, height, width, channels)


def window_rank(x: Tensor, window_size: int, shift: int) -> Tensor:
    """All windows by descending `window_score`.

    Args:
        x: (B, H, W, C).

    Returns:
        (B, nW) int32 window ids; of equal scores the lower id first, scores that are not a number last.
    """
    scores = window_score(x, window_size, shift)
    return scores.masked_fill(scores.isnan(), -1.0).sort(dim=1, descending=True, stable=True).indices.int()


def window_gather_norm(
    x: Tensor, index: Tensor, scale: Tensor, bias: Tensor, window_size: int, shift: int, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Tokens of the listed windows, and what a layer norm makes of them.

    Args:
        x: (B, H, W, C).
        index: (B, k) window ids.
        scale, bias: (C,) of the norm.

    Returns:
        Tokens and normalised tokens, (B, k*window_size**2, C) each. Padding tokens are zero before the norm.
    """
    tokens = window_gather(x, index, window_size, shift).flatten(1, 2)
    normed = torch.nn.functional.layer_norm(tokens.float(), x.shape[3:], scale.float(), bias.float(), epsilon)
    return tokens, normed.to(x.dtype)


def window_attention(
    qkv: Tensor, qkv_bias: Tensor, index: Tensor, kind: Tensor, position_bias: Tensor, heads: int, window_size: int
) -> Tensor:
    """Attention of the tokens of each window to one another.

    Args:
        qkv: (B, k*T, 3C), T = window_size**2: queries, which have the attention's scale, keys and values, without bias.
        qkv_bias: (3C,).
        index: (B, k) window ids.
        kind: (nW,) int32, which of the position biases a window takes.
        position_bias: (kinds, heads, T, T), the masks of shifted windows included.

    Returns:
        (B, k*T, C), channels head by head. The softmax is computed in float32.
    """
    split = (3, heads, qkv.shape[2] // (3 * heads))
    rows = (qkv + qkv_bias).unflatten(2, split).unflatten(1, (index.shape[1], window_size**2))
    q, k, v = rows.permute(3, 0, 1, 4, 2, 5)  # (B, k, h, T, d)
    scores = (q @ k.transpose(3, 4)).float() + position_bias.float()[kind[index.long()].long()]  # (B, k, h, T, T)
    mixed = scores.softmax(-1).to(v.dtype) @ v
    return mixed.transpose(2, 3).reshape(*qkv.shape[:2], qkv_bias.shape[0] // 3)


def window_scatter_add(
    x: Tensor, tokens: Tensor, update: Tensor, bias: Tensor, index: Tensor, window_size: int, shift: int
) -> Tensor:
    """The map with the listed windows replaced by sums.

    Args:
        x: (B, H, W, C).
        tokens, update: (B, k*window_size**2, C), summed with `bias` in float32; padding tokens are dropped.
        bias: (C,).
        index: (B, k) window ids, distinct within a sample.

    Returns:
        (B, H, W, C), a new tensor.
    """
    summed = (tokens.float() + (update.float() + bias.float())).to(x.dtype)
    return window_scatter(x, summed.unflatten(1, (index.shape[1], window_size**2)), index, window_size, shift)


def window_partition(x: Tensor, window_size: int, shift: int) -> Tensor:
    """All windows in order, (B, H, W, C) -> (B, nW, window_size**2, C), by pad, roll and reshape."""
    batch, height, width, channels = x.shape
    n_rows, n_columns = StageGeometry(height, width, window_size, 1).windows_hw
    x = torch.nn.functional.pad(x, (0, 0, 0, n_columns * window_size - width, 0, n_rows * window_size - height))
    if shift:
        x = torch.roll(x, (-shift, -shift), (1, 2))
    x = x.view(batch, n_rows, window_size, n_columns, window_size, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, n_rows * n_columns, window_size * window_size, channels)


def window_reverse(windows: Tensor, height: int, width: int, window_size: int, shift: int) -> Tensor:
    """Inverse of `window_partition`, (B, nW, window_size**2, C) -> (B, height, width, C)."""
    batch, _, _, channels = windows.shape
    n_rows, n_columns = StageGeometry(height, width, window_size, 1).windows_hw
    x = windows.view(batch, n_rows, n_columns, window_size, window_size, channels).permute(0, 1, 3, 2, 4, 5)
    x = x.reshape(batch, n_rows * window_size, n_columns * window_size, channels)
    if shift:
        x = torch.roll(x, (shift, shift), (1, 2))
    return x[:, :height, :width]


@_kept(maxsize=64)
def window_kinds(height: int, width: int, window_size: int, shift: int) -> Tensor:
    """Which attention mask each shifted window needs, (nW,) int64 in 0..3.

    Only windows of the last row or column mix regions: kind = 2 * (last row) + (last column).
    """
    n_rows, n_columns = StageGeometry(height, width, window_size, 1).windows_hw
    if not shift:
        return torch.zeros(n_rows * n_columns, dtype=torch.long)
    last_row = (torch.arange(n_rows) == n_rows - 1).long()
    last_column = (torch.arange(n_columns) == n_columns - 1).long()
    return (2 * last_row[:, None] + last_column[None, :]).flatten()


@_kept(maxsize=8)
def shift_masks(window_size: int, shift: int) -> Tensor:
    """Additive attention masks of the four window kinds, (4, T, T) float32 of 0 and -100 (docs/semantics.md).

    In a window of the last row, the rolled map's lowest `shift` rows come from the top of the image: another region.
    """
    wrapped = (torch.arange(window_size) >= window_size - shift).long()
    none = torch.zeros_like(wrapped)
    masks = []
    for kind in range(4):
        rows, columns = wrapped if kind & 2 else none, wrapped if kind & 1 else none
        region = (2 * rows[:, None] + columns[None, :]).flatten()  # (T,)
        masks.append((region[:, None] != region[None, :]).float() * -100.0)
    return torch.stack(masks)


@_kept(maxsize=8)
def relative_position_index(window_size: int) -> Tensor:
    """Row of the bias table for each (query, key) pair, (T, T) int64; (dy + ws - 1) * (2 ws - 1) + dx + ws - 1."""
    axis = torch.arange(window_size)
    y, x = (g.flatten() for g in torch.meshgrid(axis, axis, indexing="ij"))
    dy, dx = y[:, None] - y[None, :], x[:, None] - x[None, :]
    return (dy + window_size - 1) * (2 * window_size - 1) + dx + window_size - 1
