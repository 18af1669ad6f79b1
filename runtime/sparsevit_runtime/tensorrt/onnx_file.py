"""What the builder must know of an ONNX file, read from its bytes: the onnx package is not needed on a device.

An ONNX file is one protobuf message. Only the outermost fields of a few messages matter here, so a walk over the wire
format (https://protobuf.dev/programming-guides/encoding) is all it takes; weights are skipped, never copied apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..card import CARD_KEY, ModelCard
from ..errors import CardError, ModelError

#: Domain of this project's nodes and of the functions that stand for them.
DOMAIN = "sparsevit"

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_GRAPH_NODE = 1
_NODE_OP_TYPE, _NODE_DOMAIN = 4, 7
_FUNCTION_DOMAIN = 10
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

# Wire types.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field of a message: its number, and where its tag, its value and the next field begin."""

    number: int
    wire: int
    tag: int
    value: int
    end: int


@dataclass(frozen=True)
class OnnxFile:
    """An exported model file.

    Attributes:
        path: where it was read.
        data: the whole file.
        card: its model card.
        nodes: types of the graph's nodes of domain `sparsevit`, sorted.
    """

    path: Path
    data: bytes
    card: ModelCard
    nodes: tuple[str, ...]


def read_onnx(path: str | Path) -> OnnxFile:
    """Reads a model file and its card.

    Raises:
        ModelError: the file is missing, truncated, or no ONNX model.
        CardError: it carries no model card, or an invalid one.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror or error}); check the path") from error
    try:
        card, nodes, graphs = None, set(), 0
        for field in fields(data):
            if field.number == _MODEL_GRAPH:
                graphs += 1
                nodes.update(_custom_nodes(data, field))
            elif field.number == _MODEL_METADATA:
                texts = _texts(data, field, _ENTRY_KEY, _ENTRY_VALUE)
                if texts[_ENTRY_KEY] == CARD_KEY:
                    card = texts[_ENTRY_VALUE]
        if not graphs:
            raise ValueError("it has no graph")
    except ValueError as error:
        raise ModelError(
            f"{path} ({len(data)} bytes) is not an ONNX model, or only a part of one: {error}. Copy or export it again"
        ) from error
    if card is None:
        raise CardError(
            f"{path} carries no model card: it was not made by `sparsevit export`; export the checkpoint so"
        )
    return OnnxFile(path, data, ModelCard.from_json(card, origin=str(path)), tuple(sorted(nodes)))


def without_functions(data: bytes, domain: str = DOMAIN) -> bytes:
    """A serialised model without the model-local functions of `domain`; every other byte stays.

    Raises:
        ValueError: `data` is no protobuf message.
    """
    kept, start = [], 0
    for field in fields(data):
        if field.number == _MODEL_FUNCTIONS and _texts(data, field, _FUNCTION_DOMAIN)[_FUNCTION_DOMAIN] == domain:
            kept.append(data[start : field.tag])
            start = field.end
    kept.append(data[start:])
    return b"".join(kept)


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of the protobuf message in ``data[start:end]``, in order.

    Raises:
        ValueError: a field runs past the end, or has a wire type that proto3 does not use.
    """
    end = len(data) if end is None else end
    position = start
    while position < end:
        tag = position
        key, position = _varint(data, position, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError(f"field number 0 at byte {tag}")
        value = position
        if wire == _VARINT:
            _, position = _varint(data, position, end)
        elif wire == _BYTES:
            length, value = _varint(data, position, end)
            position = value + length
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {tag}")
        if position > end:
            raise ValueError(f"field {number} at byte {tag} ends at byte {position}, the data at {end}")
        yield Field(number, wire, tag, value, position)


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """The integer at `position`, and where the next byte is."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise ValueError(f"a number ends past byte {end}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"a number of more than ten bytes before byte {position}")


def _texts(data: bytes, message: Field, *numbers: int) -> dict[int, str]:
    """String fields of a nested message; absent ones are empty."""
    found = dict.fromkeys(numbers, "")
    if message.wire != _BYTES:
        raise ValueError(f"field {message.number} at byte {message.tag} is no message")
    for field in fields(data, message.value, message.end):
        if field.number in found and field.wire == _BYTES:
            found[field.number] = data[field.value : field.end].decode()
    return found


def _custom_nodes(data: bytes, graph: Field) -> Iterator[str]:
    if graph.wire != _BYTES:
        raise ValueError(f"field {graph.number} at byte {graph.tag} is no message")
    for field in fields(data, graph.value, graph.end):
        if field.number == _GRAPH_NODE:
            texts = _texts(data, field, _NODE_OP_TYPE, _NODE_DOMAIN)
            if texts[_NODE_DOMAIN] == DOMAIN:
                yield texts[_NODE_OP_TYPE]
