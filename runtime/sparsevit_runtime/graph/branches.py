"""The portable bodies without conditions: which branch a window node takes is known from its attributes.

A body that serves maps with padding and without asks which it has. ONNX Runtime folds that when it opens a file;
TensorRT keeps a conditional for every node, between which it fuses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from .nodes import rewrite_nodes
from .onnx_file import DOMAIN
from .wire import BYTES, VARINT, Field, fields, message, text_of, varint, with_texts

#: What the bodies call the condition, which holds where a map is padded.
_CONDITION = "is_padded"
#: Windows of nodes whose attributes do not say them: patches of 2x2 tokens.
_MERGED = 2
#: Names of the two bodies that one becomes.
_NAMES = {True: "{}OfPadded", False: "{}OfWhole"}
_BRANCHES = {True: "then_branch", False: "else_branch"}

# Field numbers of onnx.proto.
_MODEL_FUNCTIONS, _FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN = 25, 1, 7, 10
_INPUT, _OUTPUT, _OP_TYPE, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_GRAPH = 1, 3, 6
_GRAPH_NODE, _GRAPH_OUTPUT, _VALUE_NAME = 1, 12, 1


def without_conditions(data: bytes) -> bytes:
    """A serialised model in which every node with a conditional body has one of its own kind of map instead.

    Raises:
        ValueError: `data` is no protobuf message.
    """
    conditional = {
        name for f in _functions(data) if _has_condition(data, f) for name in [text_of(data, _FUNCTION_NAME, f)]
    }
    if not conditional:
        return data
    used: set[tuple[str, bool]] = set()

    def rewrite(_index: int, node: bytes) -> bytes:
        kind = text_of(node, _OP_TYPE)
        if text_of(node, _DOMAIN) != DOMAIN or kind not in conditional:
            return node
        padded = _is_padded(node)
        used.add((kind, padded))
        return with_texts(node, {_OP_TYPE: [_NAMES[padded].format(kind)]})

    rewritten = rewrite_nodes(data, rewrite)
    pieces, start = [], 0
    for function in _functions(rewritten):
        name = text_of(rewritten, _FUNCTION_NAME, function)
        if name in conditional:
            body = rewritten[function.value : function.end]
            pieces.append(rewritten[start : function.tag])
            pieces += [
                message(
                    _MODEL_FUNCTIONS, with_texts(_chosen(body, padded), {_FUNCTION_NAME: [_NAMES[padded].format(name)]})
                )
                for padded in (True, False)
                if (name, padded) in used
            ]
            start = function.end
    return b"".join([*pieces, rewritten[start:]])


def _functions(data: bytes) -> Iterator[Field]:
    for field in fields(data):
        if field.number == _MODEL_FUNCTIONS and text_of(data, _FUNCTION_DOMAIN, field) == DOMAIN:
            yield field


def _has_condition(data: bytes, function: Field) -> bool:
    nodes = fields(data, function.value, function.end)
    return any(f.number == _FUNCTION_NODE and _is_condition(data[f.value : f.end]) for f in nodes)


def _is_condition(node: bytes) -> bool:
    return text_of(node, _OP_TYPE) == "If" and text_of(node, _INPUT) == _CONDITION


def _chosen(function: bytes, padded: bool) -> bytes:
    """A function with one branch in place of each condition."""
    pieces = []
    for field in fields(function):
        node = function[field.value : field.end]
        if field.number == _FUNCTION_NODE and _is_condition(node):
            pieces += [message(_FUNCTION_NODE, inner) for inner in _branch(node, _BRANCHES[padded])]
        else:
            pieces.append(function[field.tag : field.end])
    return b"".join(pieces)


def _branch(condition: bytes, name: str) -> Iterator[bytes]:
    """The nodes of a branch, and those that give its answers the names which the condition's have.

    Names in the bodies are unique, those of their branches included.
    """
    answers = [condition[f.value : f.end] for f in fields(condition) if f.number == _OUTPUT]
    for attribute in fields(condition):
        if attribute.number != _ATTRIBUTE or text_of(condition, _ATTRIBUTE_NAME, attribute) != name:
            continue
        for graph in fields(condition, attribute.value, attribute.end):
            if graph.number != _ATTRIBUTE_GRAPH or graph.wire != BYTES:
                continue
            given = []
            for field in fields(condition, graph.value, graph.end):
                if field.number == _GRAPH_NODE:
                    yield condition[field.value : field.end]
                elif field.number == _GRAPH_OUTPUT:
                    given.append(text_of(condition, _VALUE_NAME, field))
            for source, answer in zip(given, answers, strict=True):
                yield (message(_INPUT, source.encode()) + message(_OUTPUT, answer) + message(_OP_TYPE, b"Identity"))


def _is_padded(node: bytes) -> bool:
    """Whether the map of a node is no multiple of its windows, or of the patches that it merges."""
    sizes = {"window_size": _MERGED} if text_of(node, _OP_TYPE) == "PatchMergeNorm" else {}
    for attribute in fields(node):
        if attribute.number == _ATTRIBUTE:
            for field in fields(node, attribute.value, attribute.end):
                if field.number == _ATTRIBUTE_INT and field.wire == VARINT:
                    sizes[text_of(node, _ATTRIBUTE_NAME, attribute)] = varint(node, field.value, field.end)[0]
    try:
        return any(sizes[side] % sizes["window_size"] for side in ("height", "width"))
    except (KeyError, ZeroDivisionError) as error:
        raise ValueError(f"a node with the attributes {sizes} has no windows") from error
