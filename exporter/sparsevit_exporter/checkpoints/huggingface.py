"""HuggingFace's Swin, with the key spellings of transformers 4 (and of every saved file) and 5 (in memory)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsevit_runtime.errors import CheckpointError

from .merging import reorder_merges
from .states import BackboneState, Format, KeyMismatch, find_prefix, listing, sort_keys

#: Red, green and blue, in 0..255 units.
RGB = tuple[float, float, float]

_ANCHOR = "embeddings.patch_embeddings.projection.weight"
_LEFTOVER = re.compile(r"^((layernorm|pooler|hidden_states_norms\.stem)\.|embeddings\.mask_token$)")
_BLOCK = re.compile(r"encoder\.layers\.(\d+\.blocks\.\d+)\.(\w[\w.]*)\.(weight|bias)$")
_POSITION = re.compile(
    r"encoder\.layers\.(\d+\.blocks\.\d+)\.attention\.(?:self|relative_position_bias)\."
    r"(relative_position_(?:bias_table|index))$"
)
_MERGE = re.compile(r"encoder\.layers\.(\d+\.downsample\.(?:norm|reduction)\.(?:weight|bias))$")
_NORM = re.compile(r"hidden_states_norms\.stage(\d+)\.(weight|bias)$")
_BLOCK_PARTS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.w_msa.proj",
    "attention.o_proj": "attn.w_msa.proj",
    "intermediate.dense": "ffn.layers.0.0",
    "mlp.fc1": "ffn.layers.0.0",
    "output.dense": "ffn.layers.1",
    "mlp.fc2": "ffn.layers.1",
}
_QKV_PARTS = {
    "attention.self.query": "q",
    "attention.q_proj": "q",
    "attention.self.key": "k",
    "attention.k_proj": "k",
    "attention.self.value": "v",
    "attention.v_proj": "v",
}
#: What SparseViT takes for granted and tensor shapes do not show.
_FIXED_CONFIG = {
    "patch_size": 4,
    "num_channels": 3,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "use_absolute_embeddings": False,
}


def _rename(name: str) -> str | None:
    """The reference's name; None when it has none. Query, key and value end in ``qkv.weight/q`` and so on."""
    if block := _BLOCK.match(name):
        where, part, kind = block.groups()
        if part in _QKV_PARTS:
            return f"stages.{where}.attn.w_msa.qkv.{kind}/{_QKV_PARTS[part]}"
        return f"stages.{where}.{_BLOCK_PARTS[part]}.{kind}" if part in _BLOCK_PARTS else None
    if position := _POSITION.match(name):
        return f"stages.{position[1]}.attn.w_msa.{position[2]}"
    if merge := _MERGE.match(name):
        return f"stages.{merge[1]}"
    if norm := _NORM.match(name):
        return f"norm{int(norm[1]) - 1}.{norm[2]}"
    if name.startswith("embeddings.patch_embeddings.projection."):
        return name.replace("embeddings.patch_embeddings", "patch_embed", 1)
    return name.replace("embeddings", "patch_embed", 1) if name.startswith("embeddings.norm.") else None


def convert(state: Mapping[str, Tensor]) -> BackboneState:
    """Renames, joins query, key and value, and reorders the channels of patch merging.

    Raises:
        KeyMismatch: there is no backbone, more than one, or a query without its key and value.
    """
    # SwinBackbone holds its norms beside a `swin` module; its files drop `swin.` from most keys, but not from all.
    prefix = find_prefix(state, _ANCHOR)
    base = prefix.removesuffix("swin.")
    inside = (prefix, f"{base}swin.", f"{base}hidden_states_norms.")

    def name_inside(key: str) -> str | None:
        return key.removeprefix(base).removeprefix("swin.") if key.startswith(inside) else None

    parts = sort_keys(state, name_inside, _LEFTOVER, _rename)
    reorder_merges(parts)
    _join_qkv(parts)
    return parts


def _join_qkv(state: BackboneState) -> None:
    for joined in sorted({name.partition("/")[0] for name in state.weights if "/" in name}):
        names = [f"{joined}/{part}" for part in "qkv"]
        present = [name for name in names if name in state.weights]
        keys = [state.origins.pop(name) for name in present]
        parts = [state.weights.pop(name) for name in present]
        if len(parts) < len(names):
            absent = [name[-1] for name in names if name not in present]
            raise KeyMismatch(f"{listing(keys)} lacks its {' and '.join(absent)} counterpart")
        if len({part.shape for part in parts}) > 1:
            raise KeyMismatch(f"{listing(keys)} differ in shape: {[tuple(part.shape) for part in parts]}")
        state.add(joined, keys[0], torch.cat(parts))


def backbone_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a `config.json` says of the backbone in a network of more; empty where it says nothing.

    Raises:
        CheckpointError: it is no JSON object.
    """
    found = config.get("backbone_config") or {}
    if not isinstance(found, Mapping):
        raise CheckpointError(
            f"its config.json has the backbone_config {str(found)[:60]!r}, where a JSON object belongs; take the "
            "config.json that it was saved with"
        )
    return found


def check_config(config: Mapping[str, Any]) -> None:
    """Refuses a `config.json` that describes another network than the weights alone would suggest.

    Raises:
        CheckpointError: not a Swin Transformer (first version), or options that SparseViT does not have.
    """
    swin = backbone_config(config) or config
    if swin.get("model_type", "swin") != "swin":
        raise CheckpointError(f"its config.json says model_type {swin['model_type']!r}; only 'swin' fits SparseViT")
    other = [f"{k} {swin[k]!r} (needs {v!r})" for k, v in _FIXED_CONFIG.items() if swin.get(k, v) != v]
    if other:
        raise CheckpointError(f"its config.json has {listing(other)}, which SparseViT does not implement")


def normalisation(preprocessor: Mapping[str, Any]) -> tuple[RGB, RGB] | None:
    """Mean and std in 0..255 units from a `preprocessor_config.json`; None when it names none.

    Raises:
        CheckpointError: they are not three finite numbers each, or a std is not positive.
    """
    mean, std = preprocessor.get("image_mean"), preprocessor.get("image_std")
    if not preprocessor.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    if mean is None or std is None:
        return None
    scale = preprocessor.get("rescale_factor", 1 / 255) if preprocessor.get("do_rescale", True) else 1
    try:
        scaled_mean, scaled_std = (_scaled(values, scale) for values in (mean, std))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"its preprocessor_config.json is invalid: mean {mean!r}, std {std!r}") from error
    if min(scaled_std) <= 0 or not all(map(math.isfinite, (*scaled_mean, *scaled_std))):
        raise CheckpointError(f"its preprocessor_config.json is invalid: mean {mean!r}, std {std!r}")
    return scaled_mean, scaled_std


def _scaled(values: Any, scale: Any) -> RGB:
    """One number stands for all three channels."""
    each = values if isinstance(values, (list, tuple)) else [values] * 3
    red, green, blue = (round(float(value) / scale, 4) for value in each)
    return red, green, blue


FORMAT = Format(
    "huggingface",
    re.compile(
        r"(\.|^)(embeddings\.patch_embeddings\.|encoder\.layers\.\d+\.(blocks\.\d+|downsample)\.|hidden_states_norms\.)"
    ),
    convert,
)
