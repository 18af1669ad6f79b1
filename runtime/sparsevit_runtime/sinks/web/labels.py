"""Names that may be shown to strangers: of a source or sink its name alone, never its path, user or password."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

from ...sources.addresses import hide_password
from ...texts import printable

_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+")
_LONGEST = 40


def label_of(name: str) -> str:
    """A short name: the host of a URL, the file's or folder's of a path, else the name itself.

    Args:
        name: what a source or sink calls itself, or was called by its owner.
    """
    if name in ("", "-"):
        return "stdout" if name else "camera"
    scheme, mark, rest = hide_password(name).partition("://")
    if mark:
        host = _HOST.match(rest.removeprefix("***@"))
        return host[0][:_LONGEST] if host and "@" not in rest.removeprefix("***@") else scheme[:_LONGEST] or "camera"
    if "@" in name and ":" in name:  # half an address
        return "camera"
    last = re.split(r"[/\\]", name.partition("?")[0].rstrip("/\\"))[-1]
    text = printable(last).strip() or "camera"
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"


class Labels:
    """Labels that tell several apart: the second of a kind is ``clip.mp4 2``. Once given they stay.

    Threads: safe from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._labels: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        with self._lock:
            if name not in self._labels:
                label, number = label_of(name), 1
                taken = set(self._labels.values())
                while (text := label if number == 1 else f"{label} {number}") in taken:
                    number += 1
                self._labels[name] = text
            return self._labels[name]

    def of(self, names: Iterable[str]) -> dict[str, str]:
        """Labels by name."""
        return {name: self[name] for name in names}
