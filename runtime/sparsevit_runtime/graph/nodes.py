"""Nodes of a serialised model, read and replaced without the onnx package."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .wire import BYTES, fields, message, with_texts

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_NODE = 7, 1
_INPUT, _OUTPUT, _NAME, _OP_TYPE, _DOMAIN = 1, 2, 3, 4, 7


class Node(NamedTuple):
    """A node of a graph, the graph's nodes being in an order they can run in."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str = ""
    domain: str = ""


def rewrite_nodes(data: bytes, rewrite: Callable[[int, bytes], bytes]) -> bytes:
    """A serialised model with other nodes in its graph; every other byte stays.

    Args:
        data: the model.
        rewrite: index as in `read_nodes`, and the node -> the node to take its place.

    Raises:
        ValueError: `data` is no protobuf message.
    """
    pieces, index = [], 0
    for field in fields(data):
        if field.number != _MODEL_GRAPH or field.wire != BYTES:
            pieces.append(data[field.tag : field.end])
            continue
        graph = []
        for inner in fields(data, field.value, field.end):
            if inner.number != _GRAPH_NODE or inner.wire != BYTES:
                graph.append(data[inner.tag : inner.end])
                continue
            graph.append(message(_GRAPH_NODE, rewrite(index, data[inner.value : inner.end])))
            index += 1
        pieces.append(message(_MODEL_GRAPH, b"".join(graph)))
    return b"".join(pieces)


def read_nodes(data: bytes) -> list[Node]:
    """The nodes of a serialised model's graph. Raises ValueError when it is no protobuf message."""
    nodes = []
    for model_field in fields(data):
        if model_field.number != _MODEL_GRAPH or model_field.wire != BYTES:
            continue
        for graph_field in fields(data, model_field.value, model_field.end):
            if graph_field.number != _GRAPH_NODE or graph_field.wire != BYTES:
                continue
            texts: dict[int, list[str]] = {n: [] for n in (_INPUT, _OUTPUT, _NAME, _OP_TYPE, _DOMAIN)}
            for field in fields(data, graph_field.value, graph_field.end):
                if field.number in texts and field.wire == BYTES:
                    texts[field.number].append(data[field.value : field.end].decode())
            single = ("".join(texts[n]) for n in (_NAME, _DOMAIN))
            nodes.append(Node("".join(texts[_OP_TYPE]), tuple(texts[_INPUT]), tuple(texts[_OUTPUT]), *single))
    return nodes


def renamed(node: bytes, name: str) -> bytes:
    """A serialised node under another name."""
    return with_texts(node, {_NAME: [name]})
