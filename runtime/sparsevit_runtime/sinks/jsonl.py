"""Results as JSON, one object a line."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import SinkError
from .base import Sink, StopStream
from .parts import Parts, Rotation
from .recording import RecordingSink
from .timeline import Timeline

if TYPE_CHECKING:
    from ..tasks import Result

_log = logging.getLogger(__name__)

_UNTIMED_FPS = 25.0


class JsonLinesSink(RecordingSink):
    """Writes `result.to_dict()` a line.

    A part is written under a temporary name until it is complete. Of a live source it is written under its own name,
    each line at once, so that a kill leaves whole lines up to the last.

    Args:
        path: path of the file.
        overwrite: replaces a file that this program did not write.
        masks: form of the masks that each line holds beside the rest, as `Result.masks` takes it; None for none.
        live: what is written cannot be made again: it is kept, whatever happens.
        rotation: limits of a part.
        fps: frames per second of results that have no time; 25 when None.

    Raises:
        SinkError: the folder is missing or cannot be written, or the file may not be replaced.
    """

    def __init__(
        self,
        path: Path,
        overwrite: bool = True,
        masks: str | None = None,
        *,
        live: bool = False,
        rotation: Rotation | None = None,
        fps: float | None = None,
    ):
        self.name = str(path)
        self._masks, self._live = masks, live
        self._parts = Parts(path, overwrite, live, rotation or Rotation())
        self._timeline = Timeline(fps or _UNTIMED_FPS)
        self._file: BinaryIO | None = None
        self._size = 0
        self._closed = False
        if not live:
            self._begin(0)

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        if self._closed:
            raise SinkError(f"{self.name} is closed; open a new sink")
        line = _line(result, self._masks).encode()
        at_ns = self._timeline.place(result.timestamp_ns)
        try:
            if self._size and self._parts.is_due(at_ns, self._size + len(line)):
                self._complete()
            file = self._file or self._begin(at_ns)
            rest = memoryview(line)
            while rest:  # a file that is not buffered takes what there is room for
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise self._failed(error) from error
        self._size += len(line)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._live and not self.written:
            _log.warning("%s: no frame came, so there is no file", self.name)
        try:
            self._complete()
        except OSError as error:
            raise self._failed(error) from error

    def _begin(self, at_ns: int) -> BinaryIO:
        try:
            part = self._parts.begin(at_ns)
            self._file = part.open("wb", buffering=0 if self._live else -1)
        except OSError as error:
            raise self._failed(error) from error
        self._size = 0
        return self._file

    def _complete(self) -> None:
        """Closes the part under way and puts it in place. Raises OSError."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self._parts.complete()

    def _give_up(self) -> None:
        """Nothing more is written. What a live source gave is kept, without a line that is not whole."""
        self._closed = True
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                if self._live:
                    file.truncate(self._size)
            with suppress(OSError):
                file.close()
        self._parts.give_up()


class JsonLinesPipe(Sink):
    """Writes `result.to_dict()` a line to whoever reads on the other side, each line at once.

    A reader that goes away ends the run, as it does for any command in a pipe.

    Args:
        path: a named pipe or a character device, opened here (a pipe waits for its reader); None for stdout.
        masks: see `JsonLinesSink`.

    Raises:
        SinkError: it cannot be opened.
    """

    def __init__(self, path: Path | None = None, masks: str | None = None):
        self.name = "-" if path is None else str(path)
        self._masks = masks
        try:
            self._file: IO[str] | None = sys.stdout if path is None else path.open("w", encoding="utf-8")
        except OSError as error:
            raise self._failed(error) from error

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        if self._file is None:
            raise SinkError(f"{self.name} is closed; open a new sink")
        try:
            self._file.write(_line(result, self._masks))
            self._file.flush()
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
