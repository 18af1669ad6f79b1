"""What callers may pass: each check names what was passed in place of it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TypeVar

import numpy as np

from .errors import ArgumentError
from .texts import shown

_Kind = TypeVar("_Kind")


def as_path(value: object, what: str) -> Path:
    """A path, given as text or a path.

    Raises:
        ArgumentError: anything else.
    """
    if isinstance(value, (str, os.PathLike)):
        path = os.fspath(value)
        if isinstance(path, str):
            return Path(path)
    raise ArgumentError(f"{what} is a path or its text, got {_shown(value)}")


def as_text(value: object, what: str) -> str:
    """Text. Raises ArgumentError."""
    if not isinstance(value, str):
        raise ArgumentError(f"{what} is text, got {_shown(value)}")
    return value


def as_number(value: object, what: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number within limits, given as a number of Python or NumPy.

    Raises:
        ArgumentError: no number, not finite, or beyond the limits.
    """
    number = as_float(value, what)
    if not math.isfinite(number) or not low <= number <= high:
        raise ArgumentError(f"{what} is a finite number{_between(low, high)}, got {number:g}")
    return number


def as_float(value: object, what: str) -> float:
    """A number of Python or NumPy, whatever its value. Raises ArgumentError."""
    value = _scalar(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentError(f"{what} is a number, got {_shown(value)}")
    try:
        return float(value)
    except OverflowError:  # an integer beyond all floats
        return math.inf


def as_whole(value: object, what: str, low: int, high: int) -> int:
    """A whole number within limits, given as one of Python or NumPy.

    Raises:
        ArgumentError: no whole number, or beyond the limits.
    """
    value = _scalar(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ArgumentError(f"{what} is a whole number, got {_shown(value)}")
    if not low <= value <= high:
        raise ArgumentError(f"{what} is a whole number{_between(low, high)}, got {shown(value)}")
    return int(value)


def as_flag(value: object, what: str) -> bool:
    """True or False. Raises ArgumentError."""
    value = _scalar(value)
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{what} is True or False, got {_shown(value)}")
    return bool(value)


def as_kind(value: object, kind: type[_Kind] | tuple[type[_Kind], ...], what: str) -> _Kind:
    """An object of a class. Raises ArgumentError."""
    if not isinstance(value, kind):
        raise ArgumentError(f"{what}, got {_shown(value)}")
    return value


def _scalar(value: object) -> object:
    """What a NumPy array without dimensions holds, and any other value as it is."""
    return value[()] if isinstance(value, np.ndarray) and value.shape == () else value


def _between(low: float, high: float) -> str:
    if math.isinf(low) or math.isinf(high):
        return ""
    return f" from {low:g} to {high:g}"


def _shown(value: object) -> str:
    """Type and, where it is short, value."""
    text = shown(value) if isinstance(value, (str, bytes, bool, int, float, complex, type(None))) else ""
    return f"{type(value).__name__} {text}".strip() if len(text) <= 40 else type(value).__name__
