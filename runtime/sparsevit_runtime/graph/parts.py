"""Which part of the network a node belongs to: the layers of a profile are grouped by it.

A node's name does not tell: tracers number them, and optimisers make new ones. So the part is found from what flows
where, and written in front of the name, ``attention/node_MatMul_95``; what runs the graph carries names along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .wire import BYTES, fields, message

#: In the order in which a frame comes through them.
PARTS = ("embed", "score", "gather", "attention", "mlp", "scatter", "merge", "head")
OTHER = "other"

_PREFIX = re.compile(rf"(?<!\w)({'|'.join(PARTS)})/")
#: Parts by the names of the weights that a node reads. The norm of each stage's map stands before the head.
_BY_WEIGHT = (
    (re.compile(r"(^|\.)patch_embed\."), "embed"),
    (re.compile(r"\.blocks\.\d+\.(norm2|expand|contract)\."), "mlp"),
    (re.compile(r"\.blocks\.\d+\."), "attention"),
    (re.compile(r"\.downsample\."), "merge"),
    (re.compile(r"(^|\.)(norms|head)\."), "head"),
)
_BY_NODE = {"WindowScore": "score", "WindowGather": "gather", "WindowScatter": "scatter"}
#: ONNX Runtime's names of the tensors within an inlined function.
_INLINED = re.compile(r"_inlfunc_(WindowScore|WindowGather|WindowScatter)")
_MOVES = {
    *("Reshape", "Transpose", "Slice", "Pad", "Concat", "Gather", "Split", "Squeeze", "Unsqueeze", "Flatten"),
    *("Shape", "Cast", "Identity", "Expand"),
}

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


def part_of_layer(name: str) -> str:
    """The part that a layer's name says; for a layer fused across parts all of them, as ``gather+attention``; else
    ``other``."""
    found = set(_PREFIX.findall(name))
    return "+".join(part for part in PARTS if part in found) or OTHER


def name_by_part(data: bytes, exported: bytes | None = None) -> bytes:
    """A model whose nodes have their part before their name; every other byte stays.

    Args:
        data: the exported file, or what an optimiser made of it.
        exported: the exported file, when `data` is not it.

    Raises:
        ValueError: either is no protobuf message.
    """
    if exported is None:
        nodes = read_nodes(data)
        parts = exported_parts(nodes)
    else:
        originals = read_nodes(exported)
        known = {t: p for node, p in zip(originals, exported_parts(originals)) for t in node.outputs}
        nodes = read_nodes(data)
        parts = _optimised_parts(nodes, known)

    def rename(i: int, body: bytes) -> bytes:
        kept = [body[field.tag : field.end] for field in fields(body) if field.number != _NAME]
        name = f"{parts[i]}/{nodes[i].name or f'{nodes[i].kind}_{i}'}"
        return b"".join(kept) + message(_NAME, name.encode())

    return rewrite_nodes(data, rename)


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


def exported_parts(nodes: Sequence[Node]) -> list[str]:
    """The part of each node of an exported graph.

    Nodes that read a weight with a telling name, and the window nodes, are certain. Any other lies between the last
    certain node before it and the first one after it: what computes belongs to the part before (the sum after an
    attention), what only moves data is judged by both ends. In the dense blocks of a fixed plan, which have no window
    nodes, the way from one block's MLP to the next block's windows counts as scatter. What comes from no certain node,
    such as the cast of a weight, belongs to the node that reads it.
    """
    certain = [_certain(node) for node in nodes]
    before, after = _parts_before(nodes, certain), _parts_after(nodes, certain)
    parts = [sure or _between(node.kind in _MOVES, b, a) for node, sure, b, a in zip(nodes, certain, before, after)]
    reader: dict[str, int] = {}
    for i in range(len(nodes) - 1, -1, -1):
        readers = [reader[name] for name in nodes[i].outputs if name in reader]
        if before[i] is None and readers:
            parts[i] = parts[min(readers)]
        reader.update(dict.fromkeys(nodes[i].inputs, i))
    return parts


def _optimised_parts(nodes: Sequence[Node], known: dict[str, str]) -> list[str]:
    """The part of each node of an optimised graph, `known` being those of the tensors it was made from."""
    certain: list[str | None] = []
    for node in nodes:
        parts = [known[t] for t in node.outputs if t in known]
        inlined = _INLINED.search(" ".join(node.outputs))
        certain.append(parts[-1] if parts else _BY_NODE[inlined[1]] if inlined else None)
    before, after = _parts_before(nodes, certain), _parts_after(nodes, certain)
    return [sure or a or b or OTHER for sure, b, a in zip(certain, before, after)]


def _certain(node: Node) -> str | None:
    if node.kind in _BY_NODE:
        return _BY_NODE[node.kind]
    for pattern, part in _BY_WEIGHT:
        if any(pattern.search(name) for name in (*node.inputs, *node.outputs)):
            return part
    return None


def _parts_before(nodes: Sequence[Node], certain: Sequence[str | None]) -> list[str | None]:
    """Of the latest certain node that each node's inputs come from."""
    latest: dict[str, tuple[int, str]] = {}
    found: list[str | None] = []
    for i, (node, sure) in enumerate(zip(nodes, certain)):
        origins = [latest[name] for name in node.inputs if name in latest]
        origin = (i, sure) if sure else max(origins, default=None)
        found.append(origin[1] if origin else None)
        if origin:
            latest.update(dict.fromkeys(node.outputs, origin))
    return found


def _parts_after(nodes: Sequence[Node], certain: Sequence[str | None]) -> list[str | None]:
    """Of the first certain node that each node's outputs lead to."""
    first: dict[str, tuple[int, str]] = {}
    found: list[str | None] = []
    for i in range(len(nodes) - 1, -1, -1):
        node, sure = nodes[i], certain[i]
        goals = [first[name] for name in node.outputs if name in first]
        goal = (i, sure) if sure else min(goals, default=None)
        found.append(goal[1] if goal else None)
        if goal:
            for name in node.inputs:
                first[name] = min(first.get(name, goal), goal)
    return found[::-1]


def _between(moves: bool, before: str | None, after: str | None) -> str:
    if before is None or after is None or before == after:
        return before or after or OTHER
    if moves and after == "merge":
        return after
    if moves and before == "mlp":
        return "scatter"
    if moves and after == "attention" and before in ("embed", "merge", "scatter"):
        return "gather"
    if moves and before == "score" and after == "attention":
        return after  # the windows' numbers, to look up their biases
    return before
