"""Files that tests read and none changes, made once in a run, in however many processes the tests run."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A file or folder of this run's; whoever asks first makes it, and the others wait.

    Args:
        factory: pytest's `tmp_path_factory`.
        name: a path with the file's own name last, the same for all who share it: ``searchable/model.onnx``.
        make: writes to the path that it is given. Where it fails nothing is left, and the next who asks tries again.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all workers
    path = base / "shared" / name
    with one_at_a_time(path):
        if not path.exists():
            unfinished = path.with_name(f".{secrets.token_hex(4)}") / path.name
            unfinished.parent.mkdir()
            make(unfinished)
            unfinished.replace(path)
    return path


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """The others wait until the first is done with a file or folder; what it is in is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
