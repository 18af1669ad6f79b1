"""Checks on where files will go, made when a sink is opened and not after an hour's run."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

from ..errors import SinkError
from ..files import check_replaceable

_numbers = itertools.count()


def check_target(path: Path, overwrite: bool = True) -> None:
    """Checks that a file can be put at `path`.

    Args:
        path: place of the file.
        overwrite: replaces a file that this program did not write.

    Raises:
        SinkError: its folder is missing or cannot be written, or what is in its place may not be replaced.
    """
    if path.is_dir():
        raise SinkError(f"{str(path)!r} is a folder; name a file in it")
    check_folder(path.parent)
    check_replaceable(path, overwrite)


def check_folder(folder: Path) -> None:
    """Checks that files can be made in a folder.

    Raises:
        SinkError: it is missing, is no folder, or refuses new files.
    """
    try:
        there = folder.exists()
    except OSError as error:  # a name longer than names may be
        raise SinkError(f"{str(folder)!r} cannot be a folder ({error.strerror}); choose another place") from error
    if not there:
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
    """Temporary path beside `path` with the same suffix, hidden, different for each call and process; absolute, for
    FFmpeg takes what stands before a colon for a protocol."""
    return path.absolute().with_name(f".{path.stem[:40]}.{os.getpid()}-{next(_numbers)}.part{path.suffix}")
