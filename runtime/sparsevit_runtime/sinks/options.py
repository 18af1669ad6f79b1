"""Options of sinks: what stands behind the question mark of a URI."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ByteSize, TypeAdapter

from ..errors import SinkError

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LENGTH = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([smhd]?)\s*")


def parse_duration(text: str) -> float:
    """Seconds from ``90``, ``90s``, ``10m``, ``1.5h`` or ``1d``.

    Raises:
        ValueError: no such text, or no time at all.
    """
    match = _LENGTH.fullmatch(text)
    seconds = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise ValueError(f"{text!r} is no time; give seconds, or 90s, 10m, 1h")
    return seconds


def parse_bytes(text: str) -> int:
    """Bytes from ``500MB``, ``2GB``, ``700MiB`` or a number.

    Raises:
        ValueError: no such text, or nothing at all.
    """
    try:
        size = int(TypeAdapter(ByteSize).validate_python(text))
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise ValueError(f"{text!r} is no size; give bytes, or 500MB, 2GB")
    return size


def parse_count(text: str) -> int:
    """A whole number from 1.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise ValueError(f"{text!r} is no count; give a whole number from 1")
    return int(text)


def choice(*accepted: str) -> Callable[[str], str]:
    """What reads an option that has one of some values."""

    def parse(text: str) -> str:
        if text not in accepted:
            raise ValueError(f"{text!r} is none of {', '.join(accepted)}")
        return text

    return parse


def read_options(uri: str, readers: Mapping[str, Callable[[str], Any]], example: str) -> dict[str, Any]:
    """The options of a URI, each at most once.

    Args:
        uri: whole URI, for messages, too.
        readers: for each option that is known, what makes a value of its text, and raises ValueError.
        example: options as they may be written, for messages.

    Raises:
        SinkError: an option is unknown, given twice, or its value means nothing.
    """
    _, mark, query = uri.partition("?")
    if not mark:
        return {}
    found: dict[str, Any] = {}
    try:
        if not query:
            raise ValueError("nothing behind the question mark")
        for name, text in parse_qsl(query, keep_blank_values=True, strict_parsing=True):
            if name in found:
                raise ValueError(f"the option {name!r} twice")
            if name not in readers:
                raise ValueError(f"the unknown option {name!r}")
            found[name] = readers[name](text)
    except ValueError as error:
        raise SinkError(f"{uri!r} cannot be read ({error}); accepted: {example}") from error
    return found
