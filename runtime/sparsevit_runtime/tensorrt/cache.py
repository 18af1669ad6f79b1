"""What is kept from build to build: engines that `load` made, and the times of kernels that TensorRT measured.

It lies in ~/.cache/sparsevit, or in the folder $SPARSEVIT_CACHE, and may be deleted at any time.
"""

from __future__ import annotations

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
from .engine_card import Inputs, changes, read_sidecar, sha256

#: Environment variable that names the folder.
CACHE_VARIABLE = "SPARSEVIT_CACHE"
_HASH_LENGTH = 16
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder; it need not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE_VARIABLE) or Path(home) / "sparsevit")


@dataclass(frozen=True)
class TimingCache:
    """A file of measured kernel times.

    Attributes:
        path: file, which need not exist yet.
        named: whether the user named it: then what is wrong with it is an error. The default one is made anew, or done
            without.
    """

    path: Path
    named: bool

    @classmethod
    def default(cls, tensorrt: str, gpu: str) -> TimingCache:
        """That of one TensorRT on one GPU, both as in `engine_card.Inputs`."""
        return cls(cache_folder() / "timing" / f"{_as_name(tensorrt)}-{_as_name(gpu)}.cache", named=False)

    def read(self) -> bytes:
        """The times of earlier builds; empty where there are none.

        Raises:
            BuildError: a file that the user named cannot be read.
        """
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            if not self.named:
                return b""
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
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, data)
        except (OSError, SinkError) as error:
            _log.warning("measured times are not kept, the next build takes as long: %s", error)


def engine_file(name: str, inputs: Inputs) -> Path:
    """Where the engine built from `inputs` is kept: other inputs, another file, so that no engine in use is replaced.

    Args:
        name: name of the model, for people.
        inputs: everything that decides what the engine is.
    """
    content = sha256(inputs.model_dump_json().encode())[:_HASH_LENGTH]
    return cache_folder() / "engines" / f"{_as_name(name)}-{content}.engine"


def reasons_to_build(engine: Path, inputs: Inputs) -> list[str]:
    """Why an engine in the cache must be built; empty when it is there.

    Where it is not, the latest engine of the same model file tells what has changed since.
    """
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
    """Makes the folder of an engine and keeps other processes and threads from building the same one meanwhile.

    Raises:
        SinkError: the folder cannot be made or written.
    """
    lock = engine.with_name(f"{engine.name}.lock")
    try:
        engine.parent.mkdir(parents=True, exist_ok=True)
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


def _as_name(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text).strip("-.") or "model"
