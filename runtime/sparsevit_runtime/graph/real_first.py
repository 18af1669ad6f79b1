"""Bytes made real numbers before they are turned: TensorRT transposes none, and files exported before do."""

from __future__ import annotations

from .nodes import Node, read_nodes, rewrite_nodes
from .wire import fields

# Field numbers of onnx.proto.
_INPUT, _OUTPUT = 1, 2


def with_real_first(data: bytes, name: str) -> bytes:
    """A serialised model in which a transpose of an input, and the cast that alone reads it, have changed places.

    Args:
        data: the model.
        name: input of the graph whose elements are bytes.

    Raises:
        ValueError: `data` is no protobuf message.
    """
    nodes = read_nodes(data)
    pairs = {i: c for i, node in enumerate(nodes) for c in [_cast_behind(node, nodes, name)] if c is not None}
    if not pairs:
        return data
    raw: dict[int, bytes] = {}
    rewrite_nodes(data, lambda i, node: raw.setdefault(i, node))
    other = {**pairs, **{cast: turn for turn, cast in pairs.items()}}
    return rewrite_nodes(data, lambda i, node: _between(node, raw[other[i]]) if i in other else node)


def _cast_behind(node: Node, nodes: list[Node], name: str) -> int | None:
    """Index of the one node that reads a transpose of the input, if it is a cast."""
    if node.kind != "Transpose" or node.domain or node.inputs != (name,):
        return None
    readers = [i for i, reader in enumerate(nodes) if node.outputs[0] in reader.inputs]
    return readers[0] if len(readers) == 1 and nodes[readers[0]].kind == "Cast" else None


def _between(place: bytes, node: bytes) -> bytes:
    """A node with the inputs and outputs of another."""
    ends = [place[f.tag : f.end] for f in fields(place) if f.number in (_INPUT, _OUTPUT)]
    rest = [node[f.tag : f.end] for f in fields(node) if f.number not in (_INPUT, _OUTPUT)]
    return b"".join([*ends, *rest])
