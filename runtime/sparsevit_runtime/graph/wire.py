"""The protobuf wire format (https://protobuf.dev/programming-guides/encoding), as far as ONNX files take it.

An ONNX file is one protobuf message, and the onnx package is not needed on a device for the few fields that matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

#: Wire types; `BYTES` is that of strings and nested messages.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field of a message: its number, and where its tag, its value and the next field begin."""

    number: int
    wire: int
    tag: int
    value: int
    end: int


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of the protobuf message in ``data[start:end]``, in order.

    Raises:
        ValueError: a field runs past the end, or has a wire type that proto3 does not use.
    """
    end = len(data) if end is None else end
    position = start
    while position < end:
        tag = position
        key, position = varint(data, position, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError(f"field number 0 at byte {tag}")
        value = position
        if wire == VARINT:
            _, position = varint(data, position, end)
        elif wire == BYTES:
            length, value = varint(data, position, end)
            position = value + length
        elif wire in (FIXED64, FIXED32):
            position += 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {tag}")
        if position > end:
            raise ValueError(f"field {number} at byte {tag} ends at byte {position}, the data at {end}")
        yield Field(number, wire, tag, value, position)


def varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """The integer at `position`, and where the next byte is.

    Raises:
        ValueError: it runs past the end, or has more than ten bytes.
    """
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


def text_of(data: bytes, number: int, within: Field | None = None) -> str:
    """The first string that is field `number` of a message, or of one nested in it; empty where there is none."""
    found = fields(data) if within is None else fields(data, within.value, within.end)
    return next((data[f.value : f.end].decode() for f in found if f.number == number and f.wire == BYTES), "")


def with_texts(body: bytes, texts: Mapping[int, Iterable[str]]) -> bytes:
    """A serialised message with other strings as some of its fields, by their numbers; every other field stays."""
    kept = [body[field.tag : field.end] for field in fields(body) if field.number not in texts]
    return b"".join([*kept, *(message(number, text.encode()) for number, own in texts.items() for text in own)])


def message(number: int, body: bytes) -> bytes:
    """A nested message or string as field `number`."""
    return _number(number << 3 | BYTES) + _number(len(body)) + body


def integer(number: int, value: int) -> bytes:
    """A number from 0 on as field `number`."""
    return _number(number << 3 | VARINT) + _number(value)


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
