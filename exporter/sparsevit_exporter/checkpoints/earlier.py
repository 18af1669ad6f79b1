"""Weights of files that were exported before they had the network's names: found by name and by order of use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import onnx
from torch import Tensor

_NAMES = (
    (r"backbone\.patch_embed\.bias_\w+", "patch_embed.projection.bias:pixels"),
    (r"backbone\.patch_embed\.(norm\.\w+)", r"patch_embed.\1"),
    (r"backbone\.(stages\.\d+\.blocks\.\d+)\.([qkv])_bias", r"\1.attn.w_msa.qkv.bias:\2"),
    (r"backbone\.(stages\.\d+\.blocks\.\d+)\.proj\.bias", r"\1.attn.w_msa.proj.bias"),
    (r"backbone\.(stages\.\d+\.blocks\.\d+)\.expand\.bias", r"\1.ffn.layers.0.0.bias"),
    (r"backbone\.(stages\.\d+\.blocks\.\d+)\.contract\.bias", r"\1.ffn.layers.1.bias"),
    (r"backbone\.(stages\.\d+\.blocks\.\d+\.norm[12]\.\w+)", r"\1"),
    (r"backbone\.(stages\.\d+\.downsample)\.norm_(\w+)", r"\1.norm.\2:merged"),
    (r"backbone\.norms\.(\d+)\.(\w+)", r"norm\1.\2"),
)
#: Matrices of a block in the order of their use.
_PRODUCTS = (
    *(f"attn.w_msa.qkv.weight:{part}" for part in "qkv"),
    *("attn.w_msa.proj.weight:turned", "ffn.layers.0.0.weight:turned", "ffn.layers.1.weight:turned"),
)


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Whether these weights are of such a file: folds are not said in any name."""
    return not any(":" in name for name in weights)


def renamed(
    graph: onnx.GraphProto, weights: Mapping[str, Tensor], depths: Sequence[int], window_size: int, prefix: str
) -> dict[str, Tensor]:
    """The weights under the names that they have today (`weights`).

    Args:
        graph: graph of the file.
        weights: its float tensors by name.
        depths, window_size: geometry of its backbone.
        prefix: prefix of the backbone's names in the trained network.

    Raises:
        KeyError: there are more or fewer matrices or attention biases than such a backbone has.
    """
    found = {name: tensor for name, tensor in weights.items() if not name.startswith("backbone.")}
    # A convolution's bias may be that of the batch norm after it.
    found |= {re.sub(r"\.0\.bias$", ".1.bias", name): tensor for name, tensor in found.items()}
    for name, tensor in weights.items():
        for pattern, today in _NAMES:
            if (match := re.fullmatch(pattern, name)) is not None:
                found[prefix + match.expand(today)] = tensor
    matrices = [name for node in graph.node if node.op_type == "MatMul" for name in node.input if name in weights]
    pairs = (window_size**2, window_size**2)
    maps = dict.fromkeys(name for node in graph.node for name in node.input if name in weights)
    biases = [name for name in maps if weights[name].ndim > 2 and tuple(weights[name].shape[-2:]) == pairs]
    for names, used in ((list(_matrices(depths)), matrices), (list(_biases(depths)), biases)):
        if len(names) != len(used):
            raise KeyError(f"{len(used)} matrices or attention biases where {len(names)} belong")
        found |= {prefix + name: weights[use] for name, use in zip(names, used)}
    return found


def _matrices(depths: Sequence[int]) -> Iterator[str]:
    yield "patch_embed.projection.weight:pixels"
    for i, depth in enumerate(depths):
        for j in range(depth):
            yield from (f"stages.{i}.blocks.{j}.{product}" for product in _PRODUCTS)
        if i + 1 < len(depths):
            yield f"stages.{i}.downsample.reduction.weight:merged"


def _biases(depths: Sequence[int]) -> Iterator[str]:
    for i, depth in enumerate(depths):
        yield from (f"stages.{i}.blocks.{j}.attn.w_msa.relative_position_bias_table:kinds" for j in range(depth))
