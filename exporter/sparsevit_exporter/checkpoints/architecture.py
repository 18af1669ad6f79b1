"""From named tensors to a SparseViT: architecture from the shapes, bias tables, strict loading."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsevit_runtime.errors import CheckpointError

from ..backbone import SparseViT
from ..windows import relative_position_index
from .states import BackboneState, KeyMismatch, check_fit, listing

logger = logging.getLogger(__name__)

OVERRIDES = ("embed_dim", "depths", "num_heads", "window_size", "drop_path_rate")
_TABLE = ".relative_position_bias_table"
_INDEX = ".relative_position_index"
_STEM = "front.features.stem.0.weight"
#: Of batch norms; a number of steps, no weight.
_STEPS = ".num_batches_tracked"


def infer_config(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Architecture told by shapes: heads by a bias table's columns, the window by its rows.

    Args:
        weights: under the reference's names.

    Returns:
        embed_dim, depths, num_heads, window_size of `SparseViT`, and front_width where there is a front.

    Raises:
        KeyMismatch: a tensor that tells is missing, a stage or block is missing between others, or blocks differ
            in window size.
    """
    blocks: dict[int, set[int]] = {}
    for name in weights:
        if match := re.match(r"stages\.(\d{1,4})\.blocks\.(\d{1,4})\.", name):
            blocks.setdefault(int(match[1]), set()).add(int(match[2]))
    if not blocks:
        raise KeyMismatch("it has a patch embedding but no blocks")
    for stage in range(len(blocks)):
        if stage not in blocks:
            raise KeyMismatch(f"it has stages {sorted(blocks)}, but not stage {stage}")
        absent = set(range(len(blocks[stage]))) - blocks[stage]
        if absent:
            raise KeyMismatch(f"stage {stage} has blocks {sorted(blocks[stage])}, but not block {min(absent)}")
    tables = {name: tensor for name, tensor in weights.items() if name.endswith(_TABLE)}
    first_tables = [f"stages.{stage}.blocks.0.attn.w_msa{_TABLE}" for stage in range(len(blocks))]
    missing = [name for name in ("patch_embed.projection.weight", *first_tables) if name not in weights]
    if missing:
        raise KeyMismatch(f"{len(missing)} of the network's names missing ({listing(missing)})")
    sizes = sorted({table_window_size(name, table) for name, table in tables.items()})
    if len(sizes) > 1:
        raise KeyMismatch(f"its blocks have windows of sizes {sizes}; choose one with config={{'window_size': n}}")
    stem = weights.get(_STEM)
    return {
        "embed_dim": weights["patch_embed.projection.weight"].shape[0],
        "depths": [len(blocks[stage]) for stage in range(len(blocks))],
        "num_heads": [tables[name].shape[1] for name in first_tables],
        "window_size": sizes[0],
        **({} if stem is None else {"front_width": stem.shape[0]}),
    }


def table_window_size(name: str, table: Tensor) -> int:
    """Window side of a bias table ((2*side - 1)**2, heads).

    Raises:
        KeyMismatch: no side has that many rows.
    """
    span = math.isqrt(table.shape[0]) if table.ndim == 2 else 0
    if span % 2 == 0 or span * span != table.shape[0]:
        raise KeyMismatch(f"{name} is {tuple(table.shape)}; a table has (2*window_size - 1)**2 rows, heads columns")
    return (span + 1) // 2


def resize_bias_table(table: Tensor, window_size: int) -> Tensor:
    """A bias table for another window size, bicubic as the reference does it.

    Args:
        table: ((2*s - 1)**2, heads).
        window_size: side of the new window.

    Returns:
        ((2*window_size - 1)**2, heads) float32.
    """
    span, new_span = math.isqrt(table.shape[0]), 2 * window_size - 1
    if span == new_span:
        return table
    grid = table.float().t().reshape(1, -1, span, span)  # (1, heads, dy, dx)
    grid = F.interpolate(grid, (new_span, new_span), mode="bicubic", align_corners=False)
    return grid.reshape(-1, new_span * new_span).t().contiguous()


def build_backbone(state: BackboneState, overrides: Mapping[str, Any] | None = None) -> SparseViT:
    """The network with its weights.

    Norms of stages that the checkpoint does not have stay at weight 1, bias 0, as in the reference.

    Args:
        state: sorted checkpoint.
        overrides: constructor arguments that replace those inferred from the shapes; another `window_size`
            interpolates the bias tables.

    Raises:
        CheckpointError: unknown overrides, or ones that make no network.
        KeyMismatch: missing or unknown keys, other shapes, or tables indexed in another order.
    """
    overrides = dict(overrides or {})
    if wrong := sorted(set(overrides) - set(OVERRIDES)):
        raise CheckpointError(f"config has unknown entries {listing(wrong)}; it takes {listing(OVERRIDES, limit=9)}")
    window_size = overrides.get("window_size")
    if window_size is not None and (not isinstance(window_size, int) or window_size < 1):
        raise CheckpointError(f"config has window_size {window_size!r}; it is a whole number of tokens, 1 or more")
    weights = dict(state.weights)
    _take_indices(weights, state.origins)
    if window_size is not None:
        for name in [n for n in weights if n.endswith(_TABLE)]:
            table_window_size(state.origins[name], weights[name])
            weights[name] = resize_bias_table(weights[name], window_size)
    config = {**infer_config(weights), **overrides}
    try:
        net = SparseViT(**config)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"its architecture {config} makes no network: {error}") from error
    expected = {name: tensor for name, tensor in net.state_dict().items() if not name.endswith(_INDEX)}
    identity = [i for i in range(len(net.depths)) if not {f"norm{i}.weight", f"norm{i}.bias"} & weights.keys()]
    for i in identity:
        del expected[f"norm{i}.weight"], expected[f"norm{i}.bias"]
    check_fit(expected, weights, state.unknown, state.origins)
    check_values(weights, state.origins)
    net.load_state_dict({**net.state_dict(), **weights})
    if identity:
        logger.warning("no output norms for stages %s: left at weight 1, bias 0", identity)
    return net


def check_values(weights: Mapping[str, Tensor], origins: Mapping[str, str]) -> None:
    """Refuses NaN, infinity, and whole numbers.

    Raises:
        CheckpointError: naming the first few tensors that hold them.
    """
    broken = [origins.get(name, name) for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(f"{listing(broken)} hold NaN or infinity; take an earlier checkpoint of that training")
    numbers = [name for name, tensor in weights.items() if not tensor.is_floating_point() and not name.endswith(_STEPS)]
    if whole := [origins.get(name, name) for name in numbers]:
        raise CheckpointError(
            f"{listing(whole)} hold whole numbers, as a quantised network's do; save them as floating-point numbers"
        )


def _take_indices(weights: dict[str, Tensor], origins: Mapping[str, str]) -> None:
    """Removes index buffers: they follow from the window size. One in another order would misread the tables."""
    for name in [n for n in weights if n.endswith(_INDEX)]:
        index = weights.pop(name)
        table = weights.get(name.removesuffix(_INDEX) + _TABLE)
        if table is None:
            continue  # reported as missing with the others
        ours = relative_position_index(table_window_size(origins[name], table))
        if index.numel() != ours.numel() or not torch.equal(index.long().flatten(), ours.flatten()):
            raise KeyMismatch(f"{origins[name]} orders relative positions unlike Swin; its bias table would be misread")
