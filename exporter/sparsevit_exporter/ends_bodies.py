"""Portable bodies of the nodes at a network's two ends, which are written for the sizes of one graph."""

from __future__ import annotations

import onnx

from sparsevit_runtime.errors import ExportError

from .ends_nodes import SIGNATURES, label_decode, patch_embed
from .heads.labels import strips
from .nodes import DOMAIN, function


def functions_of(graph: onnx.GraphProto) -> list[onnx.FunctionProto]:
    """Portable bodies of the nodes of `SIGNATURES` that a graph has.

    Args:
        graph: traced; it says the shape of what it decodes.

    Raises:
        ExportError: one of the nodes is there twice, or the shape is not said.
    """
    found = [node for node in graph.node if node.domain == DOMAIN and node.op_type in SIGNATURES]
    kinds = [node.op_type for node in found]
    if twice := next((kind for kind in kinds if kinds.count(kind) > 1), None):
        raise ExportError(f"the graph has {kinds.count(twice)} {twice} nodes, and the body of one; decode once")
    return [function(_body(node, graph)) for node in found]


def _body(node: onnx.NodeProto, graph: onnx.GraphProto) -> str:
    of = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "PatchEmbed":
        return patch_embed(padded=any(of[side] % of["pad_multiple"] for side in ("height", "width")))
    classes, *size = _sizes(node.input[0], graph)
    pieces = list(strips(of["height"], of["width"] * classes, of["scale"]))
    return label_decode(pieces, (size[0], size[1]), of["scale"], of["width"])


def _sizes(name: str, graph: onnx.GraphProto) -> list[int]:
    """Channels, rows and columns of a map."""
    for value in (*graph.value_info, *graph.output, *graph.input):
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
        if value.name == name and len(sizes) == 3 and all(sizes):
            return sizes
    raise ExportError(f"the trace does not say how large {name} is; decode scores of known size")
