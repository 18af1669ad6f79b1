"""Where the files of a job are: on this machine, or on any file system that pyarrow or fsspec reaches."""

from __future__ import annotations

import fnmatch
import glob
import importlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..dependencies import missing, require
from ..errors import BatchError, MissingDependencyError
from ..files import expand_path
from ..texts import shown
from .temporary import temporary_folder
from .walking import walk_files

#: Schemes that pyarrow reads by itself; any other is asked of fsspec.
_OF_ARROW = ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?=://|::)")
_PATTERN = re.compile(r"[*?\[]")
_BLOCK = 1 << 20


def is_remote(uri: str) -> bool:
    """Whether a text names something elsewhere than in this machine's folders: ``s3://bucket/a.mp4``."""
    scheme = _SCHEME.match(uri)
    return scheme is not None and scheme[1].lower() != "file"


def is_pattern(uri: str) -> bool:
    """Whether a text has what a glob has."""
    return _PATTERN.search(uri) is not None


def absolute(uri: str) -> str:
    """The same for processes in other folders of this machine."""
    return uri if is_remote(uri) or not uri.strip() else str(local_path(uri).absolute())


def local_path(uri: str) -> Path:
    """The path that a text names on this machine, ``file://`` taken off.

    Raises:
        BatchError: no file can have that name.
    """
    try:
        return expand_path(uri.removeprefix("file://"))
    except ValueError as error:
        raise BatchError(f"{shown(uri)} names no file ({error}); check the name") from error


def arrow() -> Any:
    """The module `pyarrow`. Raises MissingDependencyError."""
    return require("pyarrow")


def arrow_module(name: str) -> Any:
    """A module of pyarrow, such as ``parquet``. Raises MissingDependencyError."""
    require("pyarrow")
    return importlib.import_module(f"pyarrow.{name}")


def open_system(uri: str) -> tuple[Any, str]:
    """The file system of a URI, as one of `pyarrow.fs`, and the path on it.

    Raises:
        BatchError: there is no such file system, or it cannot be reached.
        MissingDependencyError: what it takes is not installed.
    """
    fs = arrow_module("fs")
    if not is_remote(uri):
        return fs.LocalFileSystem(), str(local_path(uri).absolute())
    scheme = uri.partition("://")[0].lower()
    try:
        if scheme in _OF_ARROW and "::" not in uri:
            found: tuple[Any, str] = fs.FileSystem.from_uri(uri)
            return found
        require("fsspec")
        system, path = importlib.import_module("fsspec.core").url_to_fs(uri)
        return fs.PyFileSystem(fs.FSSpecHandler(system)), path
    except MissingDependencyError:
        raise
    except ImportError as error:  # fsspec says what it needs
        raise missing("fsspec") from error
    except Exception as error:  # each has errors of its own
        raise BatchError(f"{shown(uri)} cannot be reached ({error}); check the address and what it needs") from error


def read_bytes(uri: str) -> bytes:
    """Content of a file. Raises OSError, and what `open_system` raises."""
    if not is_remote(uri):
        return local_path(uri).read_bytes()
    system, path = open_system(uri)
    with system.open_input_stream(path) as stream:
        return bytes(stream.read())


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """A file on this machine: itself, or a copy as long as the context lasts.

    Raises:
        OSError: it is not there, or cannot be read. And what `open_system` raises.
    """
    if not is_remote(uri):
        yield local_path(uri)
        return
    system, path = open_system(uri)
    name = re.sub(r"[^\w.-]", "_", path.rpartition("/")[2])[-60:]
    with temporary_folder() as folder:  # so that the copy has the file's own name
        copy = Path(folder, name)
        with copy.open("wb") as out, system.open_input_stream(path) as stream:
            shutil.copyfileobj(stream, out, _BLOCK)
        yield copy


def list_files(uri: str) -> list[str]:
    """Files in a folder and its subfolders, or those that match a glob, as URIs, sorted. Names that begin with a dot or
    an underscore are left out of folders.

    Raises:
        BatchError: the folder is not there. And what `open_system` raises.
    """
    if not is_remote(uri):
        return _local_files(uri)
    fs = arrow_module("fs")
    head, chain = uri.partition("::")[0], uri.partition("::")[1:]
    base = head
    if is_pattern(head):
        base = _PATTERN.split(head)[0].rpartition("/")[0]
        base = f"{base}/" if base.endswith(":/") else base  # nothing but the scheme
    system, root = open_system(base + "".join(chain))
    root = root.strip("/")
    try:
        infos = system.get_file_info(fs.FileSelector(root, recursive=True))
    except OSError as error:
        raise BatchError(f"{shown(uri)} cannot be listed ({error}); check the address") from error
    inside = [info.path.strip("/")[len(root) :].lstrip("/") for info in infos if info.type == fs.FileType.File]
    if is_pattern(head):
        matches = re.compile(_glob_regex(head[len(base) :].lstrip("/")))
        inside = [path for path in inside if matches.fullmatch(path)]
    else:
        inside = [path for path in inside if not any(part.startswith((".", "_")) for part in path.split("/"))]
    base = base if base.endswith("://") else base.rstrip("/") + "/"
    return sorted(base + path + "".join(chain) for path in inside)


def _local_files(uri: str) -> list[str]:
    path = local_path(uri)
    if path.is_dir():
        return sorted(walk_files(path))
    text = str(path)
    if "**" not in text:
        return sorted(each for each in glob.glob(text) if os.path.isfile(each))
    base = _PATTERN.split(text)[0].rpartition("/")[0] or ("/" if text.startswith("/") else ".")
    if not os.path.isdir(base):
        return []
    matches = re.compile(_glob_regex(text))
    found = walk_files(base, skip=(".",))  # glob goes round in circles that links make
    return sorted(each for each in (os.path.normpath(each) for each in found) if matches.fullmatch(each))


def _glob_regex(pattern: str) -> str:
    """``**`` crosses folders, ``*`` does not."""
    parts = re.split(r"(\*\*/?|\*)", pattern)
    said = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*"}
    return "".join(said.get(part, fnmatch.translate(part)[4:-3] if part else "") for part in parts)
