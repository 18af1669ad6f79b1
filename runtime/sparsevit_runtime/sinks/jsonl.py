"""Results as JSON, one object a line."""

from __future__ import annotations

import json
import sys
from abc import abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..errors import SinkError
from ..files import put_in_place, resolve_links
from .base import Sink, StopStream
from .paths import check_target, part_path

if TYPE_CHECKING:
    from ..tasks import Result


class _JsonLines(Sink):
    """What files and pipes have in common: an open text file, and lines written to it."""

    _file: IO[str] | None
    _masks: str | None
    #: Lines are not held back.
    _at_once = False

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        if self._file is None:
            raise SinkError(f"{self.name} is closed; open a new sink")
        try:
            self._file.write(_line(result, self._masks))
            if self._at_once:
                self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    @abstractmethod
    def _failed(self, error: OSError) -> Exception:
        """What to raise when the file cannot be written."""


class JsonLinesSink(_JsonLines):
    """Writes `result.to_dict()` a line, under a temporary name until `close`.

    Args:
        path: path of the file.
        overwrite: replaces a file that this program did not write.
        masks: form of the masks that each line holds beside the rest, as `Result.masks` takes it; None for none.

    Raises:
        SinkError: the folder is missing or cannot be written, or the file may not be replaced.
    """

    def __init__(self, path: Path, overwrite: bool = True, masks: str | None = None):
        self.name = str(path)
        self._masks = masks
        self._path = resolve_links(path)
        check_target(self._path, overwrite)
        self._part = part_path(self._path)
        try:
            self._file = self._part.open("w", encoding="utf-8")
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
            put_in_place(self._part, self._path)
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


class JsonLinesPipe(_JsonLines):
    """Writes `result.to_dict()` a line to whoever reads on the other side, each line at once.

    A reader that goes away ends the run, as it does for any command in a pipe.

    Args:
        path: a named pipe or a character device, opened here (a pipe waits for its reader); None for stdout.
        masks: see `JsonLinesSink`.

    Raises:
        SinkError: it cannot be opened.
    """

    _at_once = True

    def __init__(self, path: Path | None = None, masks: str | None = None):
        self.name = "-" if path is None else str(path)
        self._masks = masks
        try:
            self._file = sys.stdout if path is None else path.open("w", encoding="utf-8")
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        file, self._file = self._file, None
        if file is None or file is sys.stdout:
            return
        try:
            with suppress(BrokenPipeError):
                file.close()
        except OSError as error:
            raise self._failed(error) from error

    def abort(self) -> None:
        with suppress(SinkError):
            self.close()

    def _failed(self, error: OSError) -> SinkError | StopStream:
        if isinstance(error, BrokenPipeError):
            return StopStream()
        where = "stdout" if self.name == "-" else self.name
        return SinkError(f"cannot write JSON lines to {where} ({error.strerror or error})")


def _line(result: Result, masks: str | None) -> str:
    said = result.to_dict()
    if masks is not None:
        said["masks"] = result.masks(masks)
    return json.dumps(said, separators=(",", ":"), allow_nan=False) + "\n"
