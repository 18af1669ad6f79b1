"""Tensors of a serialised ONNX file, read and written without the onnx package."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .wire import BYTES, FIXED32, VARINT, fields, integer, message, text_of, varint

#: Element types of onnx.proto.
FLOAT, UINT8, INT32, INT64, BOOL, HALF = 1, 2, 6, 7, 9, 10

# Field numbers of onnx.proto.
_DIMS, _DATA_TYPE, _FLOAT_DATA, _NAME, _RAW, _LOCATION = 1, 2, 4, 8, 9, 14
_NODE_ATTRIBUTE, _ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR = 5, 1, 3, 5
_NUMPY: dict[int, np.dtype[Any]] = {FLOAT: np.dtype("<f4"), HALF: np.dtype("<f2")}
#: Largest number in half precision: what is beyond it is a mask, and stays one.
_LARGEST = float(np.finfo(np.float16).max)


class Tensor(NamedTuple):
    """A stored tensor.

    Attributes:
        name: its name.
        kind: element type of onnx.proto.
        body: all of it, serialised.
    """

    name: str
    kind: int
    body: bytes

    @property
    def dims(self) -> list[int]:
        found: list[int] = []
        for field in fields(self.body):
            if field.number == _DIMS and field.wire == VARINT:
                found.append(varint(self.body, field.value, field.end)[0])
            elif field.number == _DIMS and field.wire == BYTES:
                position = field.value
                while position < field.end:
                    size, position = varint(self.body, position, field.end)
                    found.append(size)
        return found

    def array(self) -> np.ndarray:
        """(n,) values of a tensor of real numbers.

        Raises:
            ValueError: they lie in another file, or are no float32 or half precision.
        """
        if self.kind not in _NUMPY:
            raise ValueError(f"{self.name} is no tensor of real numbers")
        pieces = []
        for field in fields(self.body):
            if field.number == _LOCATION and varint(self.body, field.value, field.end)[0]:
                raise ValueError(f"{self.name} lies in another file")
            if field.number == _RAW:
                values: np.ndarray = np.frombuffer(self.body[field.value : field.end], _NUMPY[self.kind])
                return values
            if field.number == _FLOAT_DATA and field.wire in (BYTES, FIXED32):  # packed, or not
                pieces.append(np.frombuffer(self.body[field.value : field.end], "<f4"))
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def in_full(self, name: str) -> bytes:
        """Serialised in float32 under another name."""
        return _serialised(name, self.dims, FLOAT, self.array().astype("<f4"))


def as_half(tensor: Tensor, name: str) -> bytes:
    """Serialised in half precision under another name; what is too large for it becomes the largest it has."""
    values = np.clip(tensor.array().astype(np.float32), -_LARGEST, _LARGEST)
    return _serialised(name, tensor.dims, HALF, values.astype("<f2"))


def read_tensor(body: bytes) -> Tensor:
    """A serialised tensor."""
    return Tensor(text_of(body, _NAME), number_of(body, _DATA_TYPE), body)


def number_of(body: bytes, number: int) -> int:
    """The number that is field `number` of a message; 0 where there is none."""
    return next((varint(body, f.value, f.end)[0] for f in fields(body) if f.number == number and f.wire == VARINT), 0)


def constant_type(kind: str, node: bytes) -> int:
    """Element type that a Cast, a Constant or a ConstantOfShape answers with."""
    for field in fields(node):
        if field.number != _NODE_ATTRIBUTE:
            continue
        attribute = node[field.value : field.end]
        name = text_of(attribute, _ATTRIBUTE_NAME)
        if name == "to":
            return number_of(attribute, _ATTRIBUTE_INT)
        if name == "value":
            tensor = next(f for f in fields(attribute) if f.number == _ATTRIBUTE_TENSOR)
            return number_of(attribute[tensor.value : tensor.end], _DATA_TYPE)
        if name in ("value_int", "value_ints"):
            return INT64
    return FLOAT


def _serialised(name: str, dims: list[int], kind: int, values: np.ndarray) -> bytes:
    sizes = b"".join(integer(_DIMS, size) for size in dims)
    return sizes + integer(_DATA_TYPE, kind) + message(_NAME, name.encode()) + message(_RAW, values.tobytes())
