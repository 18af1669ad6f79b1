"""Checks on where files will go, made when a sink is opened and not after an hour's run."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

from ..errors import SinkError

_numbers = itertools.count()


def check_target(path: Path) -> None:
    """Checks that a file can be put at `path`.

    Raises:
        SinkError: its folder is missing or cannot be written, or a folder is in its place.
    """
    if path.is_dir():
        raise SinkError(f"{str(path)!r} is a folder; name a file in it")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Checks that files can be made in a folder.

    Raises:
        SinkError: it is missing, is no folder, or refuses new files.
    """
    if not folder.exists():
        raise SinkError(f"there is no folder {str(folder)!r}; make it first: mkdir -p {folder}")
    if not folder.is_dir():
        raise SinkError(f"{str(folder)!r} is a file, not a folder; choose another place")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SinkError(
            f"cannot write in the folder {str(folder)!r} ({error.strerror or error}); check its permissions and free "
            "space, or choose another place"
        ) from error


def part_path(path: Path) -> Path:
    """Temporary name beside `path` with the same suffix, hidden, different for each call and process."""
    return path.with_name(f".{path.stem}.{os.getpid()}-{next(_numbers)}.part{path.suffix}")
