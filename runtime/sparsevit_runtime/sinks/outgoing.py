"""What sinks that send results to others have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SinkError
from ..files import expand_path
from .base import Sink
from .forwarder import Forwarder, Sender
from .options import parse_count
from .spool import DISK_BYTES, Spool

if TYPE_CHECKING:
    from ..tasks import Result

#: Options of an address that say where waiting messages lie.
SPOOL_OPTIONS: dict[str, Callable[[str], Any]] = {"spool": str, "spool_mb": parse_count}


class OutgoingSink(Sink):
    """Sends `result.to_dict()` as JSON to another program. `write` waits for nothing: what cannot be sent at once waits
    in a spool, and what that has no room for is dropped, oldest first, and counted.

    Threads: `write` in one at a time; a forwarder has one of its own.
    """

    may_block = False

    def __init__(self, name: str, sender: Sender, spool: Spool, *, batch_s: float = 0.0) -> None:
        """
        Args:
            name: name in messages and metrics, without secrets.
            sender: way to the other side.
            spool: of what waits.
            batch_s: wait for more results before a batch that is not full, seconds.
        """
        self.name = name
        self._forwarder = Forwarder(name, sender, spool, batch_s=batch_s)
        self._closed = False

    @property
    def written(self) -> tuple[str, ...]:
        return ()

    @property
    def sent(self) -> int:
        """Results that the other side has."""
        return self._forwarder.sent

    @property
    def dropped(self) -> int:
        return self._forwarder.dropped

    @property
    def waiting(self) -> int:
        return self._forwarder.waiting

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        if self._closed:
            raise SinkError(f"{self.name} is closed; open a new sink")
        self._forwarder.put(json.dumps(result.to_dict(), separators=(",", ":"), allow_nan=False).encode())

    def close(self) -> None:
        """Tries for a moment to send what waits. What is left stays in a spool on a disk, or is dropped and told."""
        if not self._closed:
            self._closed = True
            self._forwarder.close()

    def abort(self) -> None:
        self.close()


def spool_folder(name: str, options: Mapping[str, Any]) -> tuple[Path | None, int]:
    """Folder and bytes of a spool, as options say.

    Raises:
        SinkError: a size without a folder, or the folder is no path.
    """
    folder, size_mb = options.get("spool"), options.get("spool_mb")
    if not folder:
        if size_mb is not None or folder is not None:
            raise SinkError(f"{name}: spool= names a folder, and spool_mb= its size; add spool=FOLDER")
        return None, DISK_BYTES
    try:
        return expand_path(folder), DISK_BYTES if size_mb is None else size_mb * 1_000_000
    except ValueError as error:
        raise SinkError(f"{name}: the spool is no path ({error}); choose another") from error
