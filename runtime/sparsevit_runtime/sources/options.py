"""The `?key=value` part of our own URIs."""

from __future__ import annotations

from urllib.parse import parse_qsl

from ..errors import PermanentSourceError


def split_options(uri: str, accepted: tuple[str, ...], usage: str) -> tuple[str, dict[str, str]]:
    """Takes the options off a URI.

    Args:
        uri: ``head?key=value&key=value``.
        accepted: keys that may appear, each at most once.
        usage: forms that the URI may have; ends every error message.

    Returns:
        The part before the question mark, and the options.

    Raises:
        PermanentSourceError: an unknown or repeated key, or a key without a value.
    """
    head, _, query = uri.partition("?")
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in accepted:
            raise PermanentSourceError(f"{uri!r} has the unknown key {key!r}; {usage}")
        if key in options:
            raise PermanentSourceError(f"{uri!r} gives {key!r} twice; {usage}")
        if not value:
            raise PermanentSourceError(f"{uri!r} gives {key!r} no value; {usage}")
        options[key] = value
    if query and not options:
        raise PermanentSourceError(f"{uri!r} has options that are not key=value: {query!r}; {usage}")
    return head, options


def parse_size(uri: str, text: str, smallest: int, largest: int, usage: str) -> tuple[int, int]:
    """Width and height in pixels from ``WxH``.

    Raises:
        PermanentSourceError: not two numbers, or one outside smallest..largest.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() and smallest <= int(p) <= largest for p in parts):
        raise PermanentSourceError(f"{uri!r} has the size {text!r}; {usage}")
    return int(parts[0]), int(parts[1])


def parse_number(uri: str, key: str, text: str, smallest: float, largest: float, usage: str, whole: bool) -> float:
    """A number from smallest to largest, whole where asked.

    Raises:
        PermanentSourceError: not a number, or outside the range.
    """
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        raise PermanentSourceError(f"{uri!r} has {key}={text!r}, which is not a number; {usage}") from None
    if not smallest <= value <= largest:
        raise PermanentSourceError(f"{uri!r} has {key}={text}, which is out of range; {usage}")
    return value
