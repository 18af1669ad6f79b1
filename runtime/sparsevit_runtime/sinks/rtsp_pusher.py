"""The process that pushes a stream to an RTSP server (`rtsp_push.py`), from the side of whoever has the pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..child_process import clean_path
from ..sources.tls import TlsAddress, TlsRelay
from .h264 import H264Stream

#: Its goodbye is waited for so long, seconds.
_GRACE_S = 1.0


class Pusher:
    """A process that pushes, and the encoder of what it is given. Threads: one; `kill` and `sends` from any."""

    def __init__(
        self, uri: str, tls: TlsAddress | None, size_wh: tuple[int, int], fps: float, timeout_s: float
    ) -> None:
        """
        Args:
            uri: address of the server.
            tls: address and certificates where it is reached over TLS.
            size_wh: pictures' width and height in pixels.
            fps: pictures per second, for the encoder.
            timeout_s: longest wait for the server, seconds.

        Raises:
            SourceError: the server is not reached over TLS, or its certificate not trusted.
            OSError: the process does not start, or ends at once.
        """
        import av

        self._relay = None if tls is None else TlsRelay(tls, timeout_s)
        self._container: Any = None
        script = Path(__file__).with_name("rtsp_push.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(script), json.dumps(clean_path(sys.path))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._sends = False
        try:
            place = uri if self._relay is None else self._relay.url
            self._write(json.dumps([place, timeout_s]).encode() + b"\n")
            self._container = av.open(_Pipe(self._write), "w", format="nut", options={"flush_packets": "1"})
            self._stream = H264Stream(self._container, size_wh, fps, live=True)
        except BaseException:
            self.kill()
            self.close()
            raise

    @property
    def sends(self) -> bool:
        """Whether the server has taken a picture."""
        if not self._sends:
            with suppress(OSError, ValueError):  # nothing yet; closed
                assert self._process.stdout is not None
                self._sends = bool(self._process.stdout.read(1))
        return self._sends

    def send(self, image: np.ndarray, tick: int, key: bool) -> None:
        """Sends a picture; see `H264Stream.encode`. Raises OSError and PyAV's errors."""
        for packet in self._stream.encode(image, tick, key):
            self._container.mux(packet)

    def reason(self) -> str:
        """What the process failed with; empty while it runs, or where it says nothing."""
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return ""
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode(errors="replace").strip()
        return said.splitlines()[-1] if said else ""

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Has it say goodbye, if that takes no longer than a moment."""
        if self._container is not None:
            with suppress(Exception):
                self._container.close()
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for end in (self._process.stdout, self._process.stderr):
            assert end is not None
            end.close()
        if self._relay is not None:
            self._relay.close()

    def _write(self, data: bytes) -> int:
        assert self._process.stdin is not None
        rest = memoryview(data)
        while rest:
            rest = rest[self._process.stdin.write(rest) :]
        return len(data)


class _Pipe:
    """What PyAV writes to."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self.write = write
