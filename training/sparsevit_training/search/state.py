"""What a search has found out so far, on disk after every step.

A search is a pure function of its seed and of the answers kept here: starting it again replays it with the answers it
already has, and goes on where they end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparsevit_runtime.errors import SparseViTError
from sparsevit_runtime.files import write_atomic

_SCHEMA = 1


class StateError(SparseViTError):
    """A state file cannot be read, or belongs to another search."""


class SearchState:
    """Answers by kind and key, kept in a file.

    Args:
        path: the file; None keeps nothing.
        identity: plain values that the answers depend on; a file of another identity is refused.

    Raises:
        StateError: the file is damaged or belongs to another search; says what differs.
    """

    def __init__(self, path: str | Path | None, identity: dict[str, Any]) -> None:
        self._path = None if path is None else Path(path)
        self._identity = json.loads(json.dumps(identity))
        self._answers: dict[str, dict[str, Any]] = {}
        if self._path is not None and self._path.exists():
            self._answers = self._read(self._path)

    def __len__(self) -> int:
        return sum(len(answers) for answers in self._answers.values())

    def recall(
        self, kind: str, key: str, find: Callable[[], Any], read: Callable[[Any], Any] = lambda kept: kept
    ) -> Any:
        """The answer kept under a key; otherwise finds it and keeps it.

        Args:
            find: returns plain values.
            read: makes the answer of plain values; TypeError, KeyError or ValueError where they are damaged.

        Raises:
            StateError: what is kept under the key cannot be read.
            SinkError: the file cannot be written. Whatever `find` raises.
        """
        answers = self._answers.setdefault(kind, {})
        if key not in answers:
            answers[key] = json.loads(json.dumps(find()))
            self._write()
        try:
            return read(answers[key])
        except (TypeError, KeyError, ValueError) as error:
            raise StateError(f"{self._path}: an answer of kind {kind!r} is damaged ({error}); {self._again}") from error

    @property
    def _again(self) -> str:
        return f"remove {self._path} to start over, or name another --state"

    def _write(self) -> None:
        if self._path is not None:
            document = {"schema": _SCHEMA, "search": self._identity, "answers": self._answers}
            write_atomic(self._path, (json.dumps(document) + "\n").encode())

    def _read(self, path: Path) -> dict[str, dict[str, Any]]:
        again = self._again
        try:
            document = json.loads(path.read_text())
            schema, identity, answers = document["schema"], document["search"], document["answers"]
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise StateError(f"{path} is not the state of a search ({error}); {again}") from error
        whole = isinstance(identity, dict) and isinstance(answers, dict)
        if schema != _SCHEMA or not whole or not all(isinstance(kept, dict) for kept in answers.values()):
            raise StateError(f"{path} is the state of another version's search; {again}")
        keys = sorted({*identity, *self._identity})
        changed = [
            f"{key} {identity.get(key)!r}, now {self._identity.get(key)!r}"
            for key in keys
            if identity.get(key) != self._identity.get(key)
        ]
        if changed:
            raise StateError(f"{path} is the state of another search ({'; '.join(changed)}); {again}")
        return answers
