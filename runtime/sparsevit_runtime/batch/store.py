"""The folder of a job's results: files that appear whole or not at all, on this machine or in an object store."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import BatchError
from ..files import write_error
from ..texts import shown
from .places import arrow_module, is_remote, local_path, open_system
from .temporary import temporary_folder


class Store(ABC):
    """A folder. Names are relative to it, with ``/`` between their parts.

    Threads, processes and machines: safe; who writes last under a name wins, and nobody reads half a file. Reading and
    removing raise BatchError where the folder cannot be reached.

    Attributes:
        uri: text that names it.
    """

    uri: str

    @abstractmethod
    def names(self, folder: str = "") -> set[str]:
        """Names of the files in a folder of it; none where that is not there."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Content of a file; None where it is not there."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Writes a file whole or not at all. Raises SinkError or BatchError."""

    @abstractmethod
    def take(self, path: Path, name: str) -> None:
        """Makes a file of this machine one of the store, whole or not at all; it may be gone afterwards. Raises
        SinkError or BatchError."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Removes a file that may be there."""

    @abstractmethod
    def open(self, name: str) -> Any:
        """A file for pyarrow to read, a context manager. Raises OSError."""

    @abstractmethod
    def scratch(self, name: str) -> AbstractContextManager[Path]:
        """A place on this machine for a file that `take` will take; what is left there is removed."""

    def lock(self) -> AbstractContextManager[None]:
        """As long as it lasts nobody else works on the job who sees the same locks: on this machine, and on others
        where the file system passes locks on. Raises BatchError where somebody does."""
        return nullcontext()

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Errors of the system as ours."""
        try:
            yield
        except OSError as error:
            where = shown(f"{self.uri}/{name}" if name else self.uri)
            raise BatchError(f"cannot reach {where} ({error.strerror or error}); check the folder") from error


def open_store(uri: str | os.PathLike[str]) -> Store:
    """The folder that a text names; it is made where it is not there.

    Raises:
        BatchError: it cannot be reached, or is no folder.
    """
    text = os.fspath(uri)
    return _Elsewhere(text) if is_remote(text) else _Folder(text)


class _Folder(Store):
    """On this machine, or on a file system that is mounted here: temporary names are replaced by final ones."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._root = local_path(uri)
        if self._root.exists() and not self._root.is_dir():
            raise BatchError(f"{shown(uri)} is a file; name a folder for the results")

    def names(self, folder: str = "") -> set[str]:
        with self._told(folder):
            try:
                with os.scandir(self._root / folder) as entries:
                    return {each.name for each in entries if each.is_file()}
            except FileNotFoundError:
                return set()

    def read(self, name: str) -> bytes | None:
        with self._told(name):
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        with self.scratch(name) as part:
            try:
                part.write_bytes(data)
            except OSError as error:
                raise write_error(self._root / name, error) from error
            self.take(part, name)

    def take(self, path: Path, name: str) -> None:
        target = self._root / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as file:
                os.fsync(file.fileno())  # a name that outlives a power cut must not stand for half a file
            os.replace(path, target)
        except FileNotFoundError as error:
            raise BatchError(
                f"{path} was removed before it was complete; does a driver on another machine work on the same job?"
            ) from error
        except OSError as error:
            raise write_error(target, error) from error

    def remove(self, name: str) -> None:
        with self._told(name), suppress(FileNotFoundError):
            (self._root / name).unlink()

    def open(self, name: str) -> Any:
        return arrow_module("fs").LocalFileSystem().open_input_file(str(self._root / name))

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        folder = self._root / SCRATCH
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(folder, error) from error
        path = folder / f"{PurePosixPath(name).name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            yield path
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        path = self._root / STATE / "lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise write_error(path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _NO_LOCKS:  # two drivers then do the work twice, and come to the same
                    yield
                    return
                raise BatchError(
                    f"another process works on {shown(self.uri)}; wait for it, or choose another folder"
                ) from error
            yield


#: What locking fails with on a file system that has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
#: Their files appear when they are complete; in all others a file is written beside its place first.
_OBJECT_STORES = ("s3", "gcs", "abfs")


class _Elsewhere(Store):
    """On a file system that pyarrow or fsspec reaches."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._system, root = open_system(uri)
        self._root = root.rstrip("/")
        self._at_once = self._system.type_name in _OBJECT_STORES

    def names(self, folder: str = "") -> set[str]:
        fs = arrow_module("fs")
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        with self._told(folder):
            found = self._system.get_file_info(selector)
        return {each.base_name for each in found if each.type == fs.FileType.File}

    def read(self, name: str) -> bytes | None:
        with self._told(name):
            try:
                with self._system.open_input_stream(self._path(name)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        part = path if self._at_once else self._path(f"{SCRATCH}/{PurePosixPath(name).name}.{secrets.token_hex(4)}")
        try:
            for each in {path, part}:
                self._system.create_dir(each.rpartition("/")[0], recursive=True)
            with self._system.open_output_stream(part) as stream:
                stream.write(data)
            if part != path:
                self._system.move(part, path)
        except OSError as error:
            raise BatchError(f"cannot write {shown(f'{self.uri}/{name}')} ({error}); check the address") from error

    def take(self, path: Path, name: str) -> None:
        self.write(name, path.read_bytes())

    def remove(self, name: str) -> None:
        with self._told(name), suppress(FileNotFoundError):
            self._system.delete_file(self._path(name))

    def open(self, name: str) -> Any:
        return self._system.open_input_file(self._path(name))

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        with temporary_folder() as folder:
            yield folder / PurePosixPath(name).name

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


#: What a job knows of itself. Readers of data sets leave out names that begin with an underscore.
STATE = "_sparsevit"
#: Files that are being written.
SCRATCH = f"{STATE}/scratch"
