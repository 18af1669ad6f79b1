"""What is kept from build to build: engines that `load` made, the times of kernels that TensorRT measured, where the
plugin libraries are that engines were built with, and half-precision twins of bundled models.

It lies in ~/.cache/sparsevit, or in the folder $SPARSEVIT_CACHE, and may be deleted at any time. What is in it is
executed (engines) or tells what is executed, so nobody but this user may write or read there.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import BuildError, CardError, SinkError
from ..files import write_atomic
from ..private_files import is_own_file, is_private, make_private_folder, write_private
from .engine_card import Inputs, changes, read_sidecar, sha256, sidecar_path

#: Environment variable that names the folder.
CACHE_VARIABLE = "SPARSEVIT_CACHE"
_ENGINES, _TIMING, _PLUGINS, _HALVES = "engines", "timing", "plugins", "half"
_HASH_LENGTH = 16
_NAME_LENGTH = 40
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder; it need not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE_VARIABLE) or Path(home) / "sparsevit")


def _make_private(folder: Path) -> None:
    """Makes a folder of the cache where it is missing, and keeps everybody but this user out.

    Raises:
        SinkError: it cannot be made, or is another user's.
    """
    try:
        if folder.parent == cache_folder():
            make_private_folder(folder.parent, (_ENGINES, _TIMING, _PLUGINS, _HALVES))
        make_private_folder(folder)
    except SinkError as error:
        raise SinkError(f"cannot write {folder} ({error}); name another folder in ${CACHE_VARIABLE}") from error


@dataclass(frozen=True)
class TimingCache:
    """A file of measured kernel times.

    Attributes:
        path: file, which need not exist yet.
        named: True for one that the user named: then what is wrong with it is an error. The default one is made anew,
            or done without.
    """

    path: Path
    named: bool

    @classmethod
    def default(cls, tensorrt: str, gpu: str) -> TimingCache:
        """That of one TensorRT on one GPU, both as in `engine_card.Inputs`."""
        return cls(cache_folder() / _TIMING / f"{_as_name(tensorrt)}-{_as_name(gpu)}.cache", named=False)

    def read(self) -> bytes:
        """The times of earlier builds; empty where there are none.

        Raises:
            BuildError: a file that the user named cannot be read.
        """
        if not self.named:
            with contextlib.suppress(OSError, SinkError):
                _make_private(self.path.parent)
                return self.path.read_bytes() if is_own_file(self.path) else b""
            return b""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise BuildError(
                f"cannot read the timing cache {self.path} ({error.strerror or error}); name a file, or leave it out"
            ) from error

    def write(self, data: bytes) -> None:
        """Keeps the times.

        Raises:
            SinkError: a file that the user named cannot be written.
        """
        if self.named:
            write_atomic(self.path, data)
            return
        try:
            _make_private(self.path.parent)
            write_private(self.path, data)
        except SinkError as error:
            _log.warning("measured times are not kept, the next build takes as long: %s", error)


def engine_file(name: str, inputs: Inputs) -> Path:
    """Where the engine built from `inputs` is kept: other inputs, another file, so that no engine in use is replaced.

    Args:
        name: name of the model, for people.
        inputs: everything that decides what the engine is.
    """
    content = sha256(inputs.model_dump_json().encode())[:_HASH_LENGTH]
    return cache_folder() / _ENGINES / f"{_as_name(name)}-{content}.engine"


def keep_half(name: str, data: bytes) -> Path:
    """Keeps a model in half precision, unless it is there, and returns its file, which is named by its content.

    Args:
        name: name of the model, for people.
        data: content of the file.

    Raises:
        SinkError: the folder or the file cannot be written.
    """
    path = cache_folder() / _HALVES / f"{_as_name(name)}-half-{sha256(data)[:_HASH_LENGTH]}.onnx"
    _make_private(path.parent)
    if not (is_own_file(path) and path.read_bytes() == data):
        write_private(path, data)
    return path


def reasons_to_build(engine: Path, inputs: Inputs) -> list[str]:
    """Why an engine in the cache must be built; empty when it is there.

    Where it is not, the latest engine of the same model file tells what has changed since.

    Raises:
        SinkError: the cache is another user's, or cannot be made.
    """
    _make_private(engine.parent)
    for file in (engine, sidecar_path(engine)):
        if file.exists() and not is_own_file(file):
            return [f"{file.name} was there, and may be another user's"]
    reasons = changes(engine, inputs)
    if not reasons or engine.is_file():
        return reasons
    for other in sorted(engine.parent.glob("*.engine"), key=lambda path: -path.stat().st_mtime):
        try:
            same_model = read_sidecar(other).inputs.onnx_sha256 == inputs.onnx_sha256
        except CardError:
            continue
        if same_model:
            return changes(other, inputs) or reasons
    return reasons


@contextmanager
def sole_builder(engine: Path) -> Iterator[None]:
    """Keeps other processes and threads from building an engine of the cache meanwhile.

    Raises:
        SinkError: the folder cannot be made or written.
    """
    lock = engine.with_name(f"{engine.name}.lock")
    _make_private(engine.parent)
    try:
        file = lock.open("w")
    except OSError as error:
        raise SinkError(
            f"cannot write {engine.parent} ({error.strerror or error}); name another folder in ${CACHE_VARIABLE}"
        ) from error
    with file:  # closing it gives the lock back
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("waiting for another process that builds %s", engine)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks
            _log.info("%s cannot be locked: %s", lock, error)
        yield


def record_plugins(path: Path, digest: str) -> None:
    """Notes where the plugin library is that this user builds an engine with, for whoever runs the engine.

    Args:
        path: absolute.
        digest: its SHA-256.
    """
    try:
        record = cache_folder() / _PLUGINS / digest
        _make_private(record.parent)
        write_private(record, os.fsencode(path))
    except SinkError as error:
        _log.warning("engines built with %s will not find it: %s", path, error)


def recorded_plugins(digest: str) -> Path | None:
    """Where the plugin library of this digest was; None unless a build of this user noted an absolute path.

    What is there now has to be compared with the digest.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        return None
    try:
        record = cache_folder().absolute() / _PLUGINS / digest
        path = Path(os.fsdecode(record.read_bytes())) if is_own_file(record) and is_private(record) else Path()
    except (OSError, ValueError):
        return None
    return path if path.is_absolute() else None


def _as_name(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text)[:_NAME_LENGTH].strip("-.") or "model"
