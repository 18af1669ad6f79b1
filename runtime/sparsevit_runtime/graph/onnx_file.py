"""What the builder must know of an ONNX file, read from its bytes: the onnx package is not needed on a device.

Only the outermost fields of a few messages matter here; weights are skipped, never copied apart.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..card import CARD_KEY, ModelCard
from ..errors import CardError, ModelError
from .wire import BYTES, VARINT, Field, fields, message, varint

#: Domain of this project's nodes and of the functions that stand for them.
DOMAIN = "sparsevit"

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OP_TYPE, _NODE_DOMAIN = 1, 4, 7
_TENSOR_INT64, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_EXTERNAL = 7, 8, 9, 13
_NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR = 5, 5
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN = 1, 7, 10
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


@dataclass(frozen=True)
class OnnxFile:
    """An exported model file.

    Attributes:
        path: file that was read.
        data: the whole file.
        card: its model card.
        nodes: types of the graph's nodes of domain `sparsevit`, sorted.
        sorted_counts: elements that its TopK nodes return, where that is a constant.
        weights: names of the files beside it that hold weights of it, sorted; relative to its folder.
        repeats_shapes: one of its functions asks for shapes more than once. ONNX Runtime's CUDA provider gives such
            small host tensors each other's memory (onnxruntime#32083), so that the file runs right only without reuse.
    """

    path: Path
    data: bytes
    card: ModelCard
    nodes: tuple[str, ...]
    sorted_counts: tuple[int, ...] = ()
    weights: tuple[str, ...] = ()
    repeats_shapes: bool = False

    def weight_files(self) -> list[Path]:
        """The files of `weights`.

        Raises:
            ModelError: one is missing, or lies outside of the model's folder.
        """
        folder = self.path.absolute().parent
        return [_weight_file(folder, name, self.path) for name in self.weights]

    def digest(self) -> str:
        """SHA-256 of all that the model is: the file, and the weights that lie in others.

        Raises:
            ModelError: as `weight_files` does, or one cannot be read.
        """
        digest = hashlib.sha256(self.data)
        for name, path in zip(self.weights, self.weight_files(), strict=True):
            try:
                with path.open("rb") as file:
                    while block := file.read(2**20):
                        digest.update(block)
            except OSError as error:
                raise ModelError(
                    f"{self.path} has weights in {name}, which cannot be read ({error.strerror or error}); copy both"
                ) from error
        return digest.hexdigest()


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
        card: bytes | None = None
        nodes: set[str] = set()
        counts: list[int] = []
        weights: set[str] = set()
        graphs = 0
        repeats_shapes = False
        for field in fields(data):
            if field.number == _MODEL_GRAPH:
                graphs += 1
                nodes.update(_custom_nodes(data, field))
                counts += _sorted_counts(data, field)
                weights.update(_weights_elsewhere(data, field))
            elif field.number == _MODEL_FUNCTIONS:
                repeats_shapes |= _operators(data, field, _FUNCTION_NODE).count("Shape") > 1
            elif field.number == _MODEL_METADATA:
                entry = _strings(data, field, _ENTRY_KEY, _ENTRY_VALUE)
                if entry[_ENTRY_KEY] == CARD_KEY.encode():
                    card = entry[_ENTRY_VALUE]
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
    try:
        text = card.decode()
    except UnicodeDecodeError as error:
        raise CardError(f"the model card of {path} is not UTF-8 ({error}); export the model again") from error
    about = ModelCard.from_json(text, origin=str(path))
    return OnnxFile(path, data, about, tuple(sorted(nodes)), tuple(counts), tuple(sorted(weights)), repeats_shapes)


def without_functions(data: bytes, kept: Collection[str] = (), domain: str = DOMAIN) -> bytes:
    """A serialised model without the model-local functions of `domain`; every other byte stays.

    Args:
        data: the model.
        kept: names of those that stay.
        domain: of those that go.

    Raises:
        ValueError: `data` is no protobuf message.
    """
    pieces, start = [], 0
    for field in fields(data):
        if field.number != _MODEL_FUNCTIONS:
            continue
        texts = _texts(data, field, _FUNCTION_NAME, _FUNCTION_DOMAIN)
        if texts[_FUNCTION_DOMAIN] == domain and texts[_FUNCTION_NAME] not in kept:
            pieces.append(data[start : field.tag])
            start = field.end
    pieces.append(data[start:])
    return b"".join(pieces)


def with_card(data: bytes, card: ModelCard) -> bytes:
    """A serialised model with another card; every other byte stays. Raises ValueError when it is no model."""
    pieces = [
        data[field.tag : field.end]
        for field in fields(data)
        if field.number != _MODEL_METADATA
        or _strings(data, field, _ENTRY_KEY, _ENTRY_VALUE)[_ENTRY_KEY] != CARD_KEY.encode()
    ]
    entry = message(_ENTRY_KEY, CARD_KEY.encode()) + message(_ENTRY_VALUE, card.to_json().encode())
    return b"".join([*pieces, message(_MODEL_METADATA, entry)])


def _weight_file(folder: Path, name: str, model: Path) -> Path:
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        there = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # no file can have this name
        raise ModelError(f"{model} has weights in {name[:200]!r} ({error}); export it again") from error
    if not inside or Path(name).is_absolute():
        raise ModelError(
            f"{model} has weights in {name[:200]!r}, outside of its folder; put both files into one folder"
        )
    if not there:
        raise ModelError(f"{model} has weights in {name}, which is not beside it; copy both files together")
    return path


def _weights_elsewhere(data: bytes, graph: Field) -> Iterator[str]:
    """Names of the files that hold tensors of the graph, or constants of its nodes."""
    for field in fields(data, graph.value, graph.end):
        if field.number == _GRAPH_INITIALIZER:
            yield from _locations(data, field)
        elif field.number == _GRAPH_NODE:
            for attribute in fields(data, field.value, field.end):
                if attribute.number == _NODE_ATTRIBUTE and attribute.wire == BYTES:
                    for part in fields(data, attribute.value, attribute.end):
                        if part.number == _ATTRIBUTE_TENSOR and part.wire == BYTES:
                            yield from _locations(data, part)


def _locations(data: bytes, tensor: Field) -> Iterator[str]:
    for field in fields(data, tensor.value, tensor.end):
        if field.number == _TENSOR_EXTERNAL:
            texts = _texts(data, field, _ENTRY_KEY, _ENTRY_VALUE)
            if texts[_ENTRY_KEY] == "location":
                yield texts[_ENTRY_VALUE]


def _texts(data: bytes, message: Field, *numbers: int) -> dict[int, str]:
    """String fields of a nested message; absent ones are empty."""
    return {number: value.decode() for number, value in _strings(data, message, *numbers).items()}


def _strings(data: bytes, message: Field, *numbers: int) -> dict[int, bytes]:
    """The same, as the bytes they are."""
    found = dict.fromkeys(numbers, b"")
    if message.wire != BYTES:
        raise ValueError(f"field {message.number} at byte {message.tag} is no message")
    for field in fields(data, message.value, message.end):
        if field.number in found and field.wire == BYTES:
            found[field.number] = data[field.value : field.end]
    return found


def _custom_nodes(data: bytes, graph: Field) -> Iterator[str]:
    if graph.wire != BYTES:
        raise ValueError(f"field {graph.number} at byte {graph.tag} is no message")
    for field in fields(data, graph.value, graph.end):
        if field.number == _GRAPH_NODE:
            texts = _texts(data, field, _NODE_OP_TYPE, _NODE_DOMAIN)
            if texts[_NODE_DOMAIN] == DOMAIN:
                yield texts[_NODE_OP_TYPE]


def _operators(data: bytes, message: Field, node_number: int) -> list[str]:
    """Types of the nodes of a function."""
    if message.wire != BYTES:
        raise ValueError(f"field {message.number} at byte {message.tag} is no message")
    return [
        _texts(data, field, _NODE_OP_TYPE)[_NODE_OP_TYPE]
        for field in fields(data, message.value, message.end)
        if field.number == node_number
    ]


def _sorted_counts(data: bytes, graph: Field) -> list[int]:
    """The constant K of each TopK node."""
    named = []
    for field in fields(data, graph.value, graph.end):
        if field.number == _GRAPH_NODE and _texts(data, field, _NODE_OP_TYPE)[_NODE_OP_TYPE] == "TopK":
            inputs = [
                data[f.value : f.end].decode() for f in fields(data, field.value, field.end) if f.number == _NODE_INPUT
            ]
            named += inputs[1:2]
    constants: dict[str, int] = {}
    for field in fields(data, graph.value, graph.end):
        if field.number == _GRAPH_INITIALIZER:
            name = _texts(data, field, _TENSOR_NAME)[_TENSOR_NAME]
            if name in named:
                value = _integer(data, field)
                if value is not None:
                    constants[name] = value
    return [constants[name] for name in named if name in constants]


def _integer(data: bytes, tensor: Field) -> int | None:
    """The only element of an int64 tensor, which may be stored in either way."""
    for field in fields(data, tensor.value, tensor.end):
        if field.number == _TENSOR_RAW and field.end - field.value == 8:
            return int(struct.unpack_from("<q", data, field.value)[0])
        if field.number == _TENSOR_INT64 and field.wire in (BYTES, VARINT):  # packed, or not
            return varint(data, field.value, field.end)[0]
    return None
