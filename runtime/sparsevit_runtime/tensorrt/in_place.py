"""Which scatters may write into the map they read: each spares a copy of its stage's whole map.

A scatter in place destroys its input. So everything else that reads the input must have run before, in every order that
TensorRT may choose: it must be something that the scatter waits for, as its own gather is. The first scatter of a stage
copies as a rule, because the same map is scored for the shifted windows later on.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph.nodes import Node, read_nodes, rewrite_nodes
from ..graph.onnx_file import DOMAIN
from ..graph.wire import BYTES, fields, integer, message

#: Nodes that write windows into the map that is their first input.
_SCATTERS = {"WindowScatter", "WindowScatterAdd"}
#: Nodes whose output may be the memory of their input.
_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast"}
#: Nodes with graphs of their own, which may read any tensor around them.
_NESTED = {"If", "Loop", "Scan"}

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_OUTPUT, _VALUE_NAME = 7, 12, 1
_NODE_ATTRIBUTE, _ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TYPE = 5, 1, 3, 20
_TYPE_INT = 2  # AttributeProto.INT


def scatter_in_place(data: bytes) -> tuple[bytes, int]:
    """A serialised model whose scatters work in place where that changes no answer.

    Returns:
        The model, and how many scatters that are.

    Raises:
        ValueError: `data` is no protobuf message.
    """
    chosen = set(safe_scatters(read_nodes(data), graph_outputs(data)))
    name = message(_ATTRIBUTE_NAME, b"in_place")
    attribute = name + integer(_ATTRIBUTE_INT, 1) + integer(_ATTRIBUTE_TYPE, _TYPE_INT)
    added = message(_NODE_ATTRIBUTE, attribute)
    return rewrite_nodes(data, lambda i, node: node + added if i in chosen else node), len(chosen)


def safe_scatters(nodes: Sequence[Node], outputs: Sequence[str]) -> list[int]:
    """Indices of the scatters that may work in place.

    Args:
        nodes: nodes of the graph, in an order they can run in.
        outputs: outputs of the graph.
    """
    if any(node.kind in _NESTED for node in nodes):
        return []
    maker = {name: i for i, node in enumerate(nodes) for name in node.outputs}
    readers: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(i)
    return [
        i
        for i, node in enumerate(nodes)
        if node.kind in _SCATTERS and node.domain == DOMAIN and _is_safe(i, nodes, maker, readers, outputs)
    ]


def _is_safe(
    scatter: int,
    nodes: Sequence[Node],
    maker: dict[str, int],
    readers: dict[str, list[int]],
    outputs: Sequence[str],
) -> bool:
    memory = _same_memory(nodes[scatter].inputs[0], nodes, maker, readers)
    if any(name not in maker or name in outputs for name in memory):
        return False  # an input of the graph, a weight, or an answer
    before = _waited_for(scatter, nodes, maker)
    return {i for name in memory for i in readers.get(name, ())} - {scatter} <= before


def _same_memory(name: str, nodes: Sequence[Node], maker: dict[str, int], readers: dict[str, list[int]]) -> set[str]:
    """Tensors that may share their memory with one, itself included."""
    found, open_ends = set(), [name]
    while open_ends:
        tensor = open_ends.pop()
        if tensor in found:
            continue
        found.add(tensor)
        source = nodes[maker[tensor]] if tensor in maker else None
        if source is not None and source.kind in _VIEWS:
            open_ends.append(source.inputs[0])
        for reader in (nodes[i] for i in readers.get(tensor, ())):
            if reader.kind in _VIEWS and reader.inputs[0] == tensor:
                open_ends.extend(reader.outputs)
    return found


def _waited_for(index: int, nodes: Sequence[Node], maker: dict[str, int]) -> set[int]:
    """Nodes without which one cannot run."""
    found: set[int] = set()
    open_ends = [index]
    while open_ends:
        for name in nodes[open_ends.pop()].inputs:
            i = maker.get(name)
            if i is not None and i not in found:
                found.add(i)
                open_ends.append(i)
    return found


def graph_outputs(data: bytes) -> list[str]:
    """Names of the outputs of a serialised model's graph. Raises ValueError when it is no protobuf message."""
    return [
        data[field.value : field.end].decode()
        for graph in fields(data)
        if graph.number == _MODEL_GRAPH and graph.wire == BYTES
        for output in fields(data, graph.value, graph.end)
        if output.number == _GRAPH_OUTPUT and output.wire == BYTES
        for field in fields(data, output.value, output.end)
        if field.number == _VALUE_NAME and field.wire == BYTES
    ]
