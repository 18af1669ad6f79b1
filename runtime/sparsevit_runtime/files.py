"""Writing files whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from .errors import SinkError


def write_atomic(path: str | Path, data: bytes) -> None:
    """Writes under a temporary name beside `path` and renames it, so that no reader ever sees half a file.

    Raises:
        SinkError: the folder is missing, or the file cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        raise SinkError(
            f"cannot write {path} ({error.strerror or error}); check the folder and its free space"
        ) from error
    finally:
        part.unlink(missing_ok=True)  # there only when something went wrong, Ctrl-C included
