"""Results as JSON, one object a line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..errors import SinkError
from .base import Sink
from .paths import check_target, part_path

if TYPE_CHECKING:
    from ..tasks import Result


class JsonLinesSink(Sink):
    """Writes `result.to_dict()` a line, under a temporary name until `close`. An existing file is replaced.

    Args:
        path: path of the file.

    Raises:
        SinkError: the folder is missing or cannot be written.
    """

    def __init__(self, path: Path):
        self.name = str(path)
        self._path = path
        check_target(path)
        self._part = part_path(path)
        try:
            self._file: IO[str] | None = self._part.open("w", encoding="utf-8")
        except OSError as error:
            raise self._failed(error) from error

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        if self._file is None:
            raise SinkError(f"{self.name} is closed; open a new sink")
        line = json.dumps(result.to_dict(), separators=(",", ":"), allow_nan=False)
        try:
            self._file.write(line + "\n")
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
            os.replace(self._part, self._path)
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise self._failed(error) from error

    def abort(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        finally:
            self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> SinkError:
        return SinkError(f"cannot write {self.name} ({error.strerror or error}); check the folder and its free space")
