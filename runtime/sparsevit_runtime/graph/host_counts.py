"""Counts of `keep` that are read on the host, in files whose graph looks them up by an operator that a GPU runs.

Slices need the counts on the host. From an operator that ONNX Runtime's CUDA provider runs they come back from the GPU,
which is waited for, and the run cannot be recorded as a CUDA graph.
"""

from __future__ import annotations

import struct

from ..contract import KEEP
from .nodes import read_nodes, rewrite_nodes
from .onnx_file import DOMAIN
from .tensors import INT64, read_tensor
from .wire import BYTES, fields, integer, message, with_texts

#: Type of the node that reads a count, and its attribute.
KIND, _PLACE = "KeepCount", "place"

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_INPUT, _OP_TYPE, _ATTRIBUTE, _DOMAIN = 1, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TYPE, _TYPE_INT = 1, 3, 20, 2
_TENSOR_RAW = 9


def with_host_counts(data: bytes) -> bytes:
    """A serialised model in which `KeepCount` reads every count that was gathered from `keep` by a constant place.

    Raises:
        ValueError: `data` is no protobuf message.
    """
    places = _single_places(data)
    nodes = read_nodes(data)

    def rewrite(index: int, body: bytes) -> bytes:
        node = nodes[index]
        if (node.domain, node.kind) != ("", "Gather") or node.inputs[0] != KEEP or node.inputs[1] not in places:
            return body
        attribute = message(_ATTRIBUTE_NAME, _PLACE.encode()) + integer(_ATTRIBUTE_INT, places[node.inputs[1]])
        attribute += integer(_ATTRIBUTE_TYPE, _TYPE_INT)
        bare = b"".join(body[f.tag : f.end] for f in fields(body) if f.number != _ATTRIBUTE)
        named = with_texts(bare, {_INPUT: [KEEP], _OP_TYPE: [KIND], _DOMAIN: [DOMAIN]})
        return named + message(_ATTRIBUTE, attribute)

    return rewrite_nodes(data, rewrite)


def _single_places(data: bytes) -> dict[str, int]:
    """Values of the stored tensors of one whole number, (1,) int64, by name."""
    found = {}
    for graph in fields(data):
        if graph.number != _MODEL_GRAPH or graph.wire != BYTES:
            continue
        for stored in fields(data, graph.value, graph.end):
            if stored.number != _GRAPH_INITIALIZER or stored.end - stored.value > 256:
                continue  # a number with its name is short
            tensor = read_tensor(data[stored.value : stored.end])
            if tensor.kind != INT64 or tensor.dims != [1]:
                continue
            for field in fields(tensor.body):
                if field.number == _TENSOR_RAW and field.end - field.value == 8:
                    found[tensor.name] = struct.unpack("<q", tensor.body[field.value : field.end])[0]
    return {name: place for name, place in found.items() if place >= 0}
