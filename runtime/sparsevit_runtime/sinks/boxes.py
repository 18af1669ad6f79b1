"""The boxes that an MP4 file consists of (ISO/IEC 14496-12, 4.2)."""

from __future__ import annotations

import os
from pathlib import Path

_SIZE_BYTES = 4
_HEADER_BYTES = 8
_LARGE_HEADER_BYTES = 16


def cut_to_whole_boxes(path: Path) -> None:
    """Cuts off the box at a file's end that is not whole, and a fragment's header that has nothing behind it.

    Raises:
        OSError: the file cannot be read or cut.
    """
    with path.open("r+b") as file:
        total = file.seek(0, os.SEEK_END)
        end = whole = 0
        while (box := _read_box(file.fileno(), end, total)) is not None:
            kind, end = box
            if kind != b"moof":  # of no use without its pictures
                whole = end
        if whole < total:
            file.truncate(whole)


def _read_box(file: int, start: int, total: int) -> tuple[bytes, int] | None:
    """Kind and end of the box at a place; None when it is not whole."""
    header = os.pread(file, _LARGE_HEADER_BYTES, start)
    if len(header) < _HEADER_BYTES:
        return None
    size = int.from_bytes(header[:_SIZE_BYTES], "big")
    if size == 1:  # the size did not fit, and stands behind the kind
        size = int.from_bytes(header[_HEADER_BYTES:], "big")
    end = start + size if size else total
    return (header[_SIZE_BYTES:_HEADER_BYTES], end) if start + _HEADER_BYTES <= end <= total else None
