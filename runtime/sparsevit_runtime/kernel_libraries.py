"""Where libraries of kernels are, for whichever host runs them.

A library is code: only what the user names, or what came with this package, is loaded without being asked for.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import SparseViTError

_FOLDER = Path(__file__).parent / "lib"


def packaged_library(file_name: str) -> Path:
    """Where this package has a library, when it was installed with it."""
    return _FOLDER / file_name


def usual_place(variable: str, packaged: Path, otherwise: str) -> tuple[Path, str]:
    """Where a library is unless a path is given, and why there.

    Args:
        variable: environment variable that may name it.
        packaged: the one inside this package.
        otherwise: what led there when the variable does not.
    """
    named = os.environ.get(variable)
    if named:  # a wrong variable must not silently mean the packaged library
        return Path(named), f"${variable}"
    return packaged, f"the package; {otherwise}"


def read_library(path: Path, file_name: str, error: type[SparseViTError]) -> bytes:
    """A shared library's bytes.

    Args:
        path: path of the file.
        file_name: usual name, for the message.
        error: type of what is raised.

    Raises:
        SparseViTError: of that type; it cannot be read, or is no shared library.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise error(f"cannot read the library {path} ({problem.strerror or problem})") from problem
    if not data.startswith(b"\x7fELF"):
        raise error(f"{path} ({len(data)} bytes) is not a shared library; give the path of {file_name}")
    return data
