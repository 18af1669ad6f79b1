"""Temporary files of workers, which may be killed at any moment: the next one removes what they left."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BatchError


def own_folder() -> Path:
    """The folder for temporary files of this user. Raises BatchError where it is somebody else's."""
    folder = Path(tempfile.gettempdir(), f"sparsevit-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        raise BatchError(f"cannot use {folder} ({error.strerror or error}); set TMPDIR to another place") from error
    if owner != os.getuid():
        raise BatchError(f"{folder} belongs to somebody else, who could put other files there; remove it")
    return folder


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder as long as the context lasts, or the process: those of processes that were killed are removed first.

    Whoever uses a folder holds a lock on it, which ends with the process, wherever its number is seen from.

    Raises:
        BatchError: see `own_folder`.
        OSError: no room.
    """
    base = own_folder()
    with (base / ".lock").open("a") as sweeping:
        fcntl.flock(sweeping, fcntl.LOCK_EX)
        for old in base.glob("work-*"):
            _remove_if_left(old)
        folder = Path(tempfile.mkdtemp(prefix="work-", dir=base))
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(held)
