"""Which part of the network a node belongs to: the layers of a profile are grouped by it.

An exported file says it: names of nodes and tensors begin with the module they were computed in, as
``stages.1/blocks.0/attention/qkv/MatMul``. TensorRT lists the nodes that a layer was made of. ONNX Runtime drops the
names of what it fuses and inlines, but keeps those of tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from .nodes import Node, read_nodes, renamed, rewrite_nodes

#: In the order in which a frame comes through them.
PARTS = ("embed", "front", "score", "gather", "attention", "mlp", "scatter", "merge", "head")
#: What heads that have them keep apart from `head`, in that order, too: Mask R-CNN's, Mask2Former's, label maps.
HEAD_PARTS = (
    *("neck", "rpn_head", "proposals", "bbox_head", "detections", "mask_head"),
    *("pixel_decoder", "transformer_decoder", "labels"),
)
OTHER = "other"
#: Sums over parts, as tables call them.
BACKBONE, HEADS, WHOLE = "backbone", "behind it", "whole network"
#: Said of a file whose names do not tell, as those do not that were exported before names did.
UNNAMED = "its nodes do not say which part of the network they are; export it again to see its parts apart"

_ALL = (*PARTS, *HEAD_PARTS)
_PREFIX = re.compile(rf"(?<![\w/])(?:stages\.\d+/)?(?:blocks\.\d+/)?({'|'.join(_ALL)})/")
_BY_FUNCTION = {
    "KeepCount": "score",
    "LinearGelu": "mlp",
    "WindowScore": "score",
    "WindowGather": "gather",
    "WindowScatter": "scatter",
    "WindowRank": "score",
    "WindowGatherNorm": "gather",
    "WindowAttention": "attention",
    "WindowScatterAdd": "scatter",
    "PatchEmbed": "embed",
    "LabelDecode": "labels",
    "AddNorm": "attention",
    "PatchMergeNorm": "merge",
    "FeatureMapNorm": "head",
    "FeatureMapNorm32": "head",
}
#: Functions that several parts of a head use: the nodes around them say which.
_OF_HEADS = ("NmsKeep", "MultiLevelRoiAlign")
#: ONNX Runtime's names of the tensors within an inlined function.
_INLINED = re.compile(rf"_inlfunc_({'|'.join((*_BY_FUNCTION, *_OF_HEADS))})(?![A-Za-z])")


def part_of_layer(name: str) -> str:
    """The part that a layer's name says; for a layer fused across parts all of them, as ``gather+attention``; else
    ``other``."""
    found = set(_PREFIX.findall(name))
    return "+".join(part for part in _ALL if part in found) or OTHER


def sums_of(values: Mapping[str, float]) -> dict[str, float]:
    """The backbone's, what is behind it, and the whole network's, of a number by part.

    What is fused across both is in the whole alone.
    """
    sides = {BACKBONE: set(PARTS[:-1]), HEADS: {PARTS[-1], *HEAD_PARTS}}
    sums = {
        side: sum(v for name, v in values.items() if parts.issuperset(name.split("+"))) for side, parts in sides.items()
    }
    return sums | {WHOLE: sum(values.values())}


def says_parts(names: Iterable[str]) -> bool:
    """Whether any of these names says a part; none does in a file that was exported before names did."""
    return any(part_of_layer(name) != OTHER for name in names)


def name_by_part(data: bytes) -> bytes:
    """A model in which the names of optimisers' nodes, too, begin with their part; every other byte stays.

    Args:
        data: bytes that ONNX Runtime made of an exported file. Where no name says a part, nothing is changed.

    Raises:
        ValueError: it is no protobuf message.
    """
    nodes = read_nodes(data)
    if not says_parts(node.name for node in nodes):
        return data
    parts = parts_of_nodes(nodes)

    def rename(i: int, body: bytes) -> bytes:
        name = nodes[i].name or f"{nodes[i].kind}_{i}"
        if part_of_layer(name) == parts[i]:
            return body
        return renamed(body, " + ".join(f"{part}/{name}" for part in parts[i].split("+")))

    return rewrite_nodes(data, rename)


def parts_of_nodes(nodes: Sequence[Node]) -> list[str]:
    """The part of each node of an optimised graph, in the order of `nodes`, which is one they can run in.

    It is in the node's name, or in those of the tensors it makes. An optimiser's own node, such as one that changes a
    layout, belongs to the node that reads its result, or else to the one that made what it reads.
    """
    parts = [_said(node) for node in nodes]
    first_reader: dict[str, str] = {}
    for i in range(len(nodes) - 1, -1, -1):
        if parts[i] == OTHER:
            parts[i] = next((first_reader[name] for name in nodes[i].outputs if name in first_reader), OTHER)
        if parts[i] != OTHER:
            first_reader.update(dict.fromkeys(nodes[i].inputs, parts[i]))
    maker: dict[str, str] = {}
    for i, node in enumerate(nodes):
        if parts[i] == OTHER:
            parts[i] = next((maker[name] for name in node.inputs if name in maker), OTHER)
        if parts[i] == OTHER and _function(node) in _OF_HEADS:
            parts[i] = "head"
        if parts[i] != OTHER:
            maker.update(dict.fromkeys(node.outputs, parts[i]))
    return parts


def _said(node: Node) -> str:
    for text in (node.name, " ".join(node.outputs)):
        part = part_of_layer(text)
        if part != OTHER:
            return part
    return _BY_FUNCTION.get(_function(node), OTHER)


def _function(node: Node) -> str:
    """The function that ONNX Runtime took a node from; empty for none."""
    inlined = _INLINED.search(" ".join(node.outputs))
    return inlined[1] if inlined else ""
