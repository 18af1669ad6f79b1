"""The annotated picture pushed to an RTSP server, such as MediaMTX or go2rtc: ``rtsp://host/path``; the extra `video`.

FFmpeg announces and sends the stream (RFC 2326, ANNOUNCE and RECORD; RTP within the same connection), in a process of
its own (`rtsp_push.py`).
"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from ..child_process import clean_path
from ..dependencies import require
from ..errors import PermanentSourceError, SinkError, SourceError
from ..sources.addresses import check_url, hide_password
from ..sources.tls import TlsAddress, TlsRelay, read_tls
from .base import Sink
from .forwarder import FIRST_WAIT_S, LONGEST_WAIT_S
from .h264 import CLOCK, H264Stream
from .timeline import Timeline

if TYPE_CHECKING:
    from ..tasks import Result

_log = logging.getLogger(__name__)

SCHEMES = ("rtsp", "rtsps")
_FORM = "rtsp://[user:password@]host[:port]/path; rtsps:// for TLS, with ?ca=FILE or ?verify=no"
#: What the encoder is told; every picture has its own time.
_RATE = 25.0
#: Whoever begins to watch waits no longer for a picture that stands alone.
_KEY_EVERY_NS = 1_000_000_000
#: A connection that takes no bytes for so long is left, seconds. FFmpeg itself would wait for ever.
_STALLED_S = 5.0
#: So many that are left may still hang in a write; beyond that nothing new is tried until one has ended.
_MOST_LEFT = 3
#: At the end so long is waited for the goodbye, seconds.
_GRACE_S = 1.0


def check_rtsp(uri: str) -> None:
    """Raises what `RtspSink` does, as far as nothing has to be opened for it."""
    try:
        check_url(uri)
        parts = urlsplit(uri)
        _tls_of(uri)
    except PermanentSourceError as error:
        raise SinkError(str(error)) from error
    if parts.scheme.lower() not in SCHEMES or not parts.hostname or not parts.path.strip("/") or parts.fragment:
        raise SinkError(f"{hide_password(uri)!r} has no host, or no path to publish at; accepted: {_FORM}")
    require("av")


def _tls_of(uri: str) -> TlsAddress | None:
    return read_tls(uri) if uri.lower().startswith("rtsps://") else None


class RtspSink(Sink):
    """Pushes pictures as H.264. The server need not be there yet, and may go and come back; what it does not take at
    once is left out, and counted.

    Threads: `write` in one at a time; each connection has one of its own, "sparsevit-rtsp".
    """

    needs_image = True
    may_block = False

    def __init__(self, uri: str) -> None:
        """
        Args:
            uri: address to publish at.

        Raises:
            SinkError: the address has another form.
            MissingDependencyError: PyAV is not installed.
        """
        check_rtsp(uri)
        self.name = hide_password(uri)
        self._uri = uri
        self._timeline = Timeline(_RATE)
        self._connection: _Connection | None = None
        self._left: list[_Connection] = []
        self._failures = 0
        self._due_s = 0.0
        self._dropped = 0
        self._told = False
        self._closed = False

    @property
    def written(self) -> tuple[str, ...]:
        return ()

    @property
    def dropped(self) -> int:
        return self._dropped

    @property
    def waiting(self) -> int:
        connection = self._connection
        return 0 if connection is None else connection.waiting

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        image = self._checked(image)
        if self._closed:
            raise SinkError(f"{self.name} is closed; open a new sink")
        at_ns = self._timeline.place(result.timestamp_ns)
        self._look()
        if self._connection is None or self._connection.put(image, at_ns):
            self._dropped += 1

    def close(self) -> None:
        """Says goodbye to the server, if that takes no longer than a moment."""
        if self._closed:
            return
        self._closed = True
        if self._connection is not None:
            self._connection.finish()
            self._connection.thread.join(_GRACE_S)
            self._connection.kill()
            self._dropped += self._connection.waiting
            self._connection = None

    def abort(self) -> None:
        self.close()

    def _look(self) -> None:
        """Leaves a connection that failed or hangs; begins one where there is none and it is time."""
        now, connection = time.monotonic(), self._connection
        if connection is not None:
            problem = connection.problem
            if self._failures and connection.sends:
                self._failures = 0
                if self._told:
                    _log.info("%s: takes pictures again", self.name)
                self._told = False
            if problem is None:
                return
            self._dropped += connection.waiting
            connection.finish()
            self._left.append(connection)
            self._connection = None
            if not self._told:
                _log.warning("%s: %s; pictures are left out until it takes them again", self.name, problem)
            self._told = True
            wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self._failures, 32))
            self._due_s = now + wait_s * random.uniform(0.8, 1.2)
            self._failures += 1
        self._left = [each for each in self._left if each.thread.is_alive()]
        if now >= self._due_s and len(self._left) < _MOST_LEFT:
            self._connection = _Connection(self._uri)


class _Connection:
    """One attempt: connects with its first picture, and ends with its first failure.

    Attributes:
        thread: thread in which everything is encoded, and handed to the process that sends it.
    """

    def __init__(self, uri: str) -> None:
        self._uri, self._tls = uri, _tls_of(uri)
        self._changed = threading.Condition()
        self._slot: tuple[np.ndarray, int] | None = None
        self._finishing = False
        self._busy_s: float | None = None
        self._problem: str | None = None
        self._pusher: _Pusher | None = None
        self._size_wh = (0, 0)
        self._start_ns = self._key_ns = 0
        self.thread = threading.Thread(target=self._run, name="sparsevit-rtsp", daemon=True)
        self.thread.start()

    @property
    def problem(self) -> str | None:
        """Why it is of no more use; None while it works."""
        busy_s = self._busy_s
        if self._problem is None and busy_s is not None and time.monotonic() - busy_s > _STALLED_S:
            return f"it takes nothing for {_STALLED_S:g} s"
        return self._problem

    @property
    def sends(self) -> bool:
        """Whether the server takes pictures."""
        pusher = self._pusher
        return pusher is not None and pusher.sends

    @property
    def waiting(self) -> int:
        """Pictures that wait."""
        return int(self._slot is not None)

    def put(self, image: np.ndarray, at_ns: int) -> bool:
        """Takes a picture; whether one that waited had to go for it."""
        with self._changed:
            replaced, self._slot = self._slot is not None, (image, at_ns)
            self._changed.notify()
        return replaced

    def finish(self) -> None:
        """No more pictures; the one that waits is given up, unless the thread is about to send it."""
        with self._changed:
            self._finishing = True
            self._changed.notify()
        if self.problem is not None:
            self.kill()

    def kill(self) -> None:
        """Ends what is still being sent."""
        pusher = self._pusher
        if pusher is not None:
            pusher.kill()

    def _run(self) -> None:
        try:
            while (picture := self._next()) is not None:
                self._busy_s = time.monotonic()
                self._send(*picture)
                self._busy_s = None
        except SourceError as error:
            self._problem = str(error)
        except Exception as error:  # PyAV's have several bases
            said = "" if self._pusher is None else self._pusher.reason()
            # Their texts repeat the address with its password.
            self._problem = f"cannot be pushed to ({said or getattr(error, 'strerror', None) or type(error).__name__})"
        finally:
            self._busy_s = None
            self._leave()

    def _next(self) -> tuple[np.ndarray, int] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._finishing or self._slot is not None)
            if self._finishing:
                return None
            picture, self._slot = self._slot, None
            return picture

    def _send(self, image: np.ndarray, at_ns: int) -> None:
        size_wh = image.shape[1], image.shape[0]
        if self._pusher is None or size_wh != self._size_wh:
            self._leave()
            self._pusher = _Pusher(self._uri, self._tls, size_wh)
            self._size_wh, self._start_ns = size_wh, at_ns
            self._key_ns = at_ns - _KEY_EVERY_NS
        key = at_ns - self._key_ns >= _KEY_EVERY_NS
        if key:
            self._key_ns = at_ns
        self._pusher.send(image, round((at_ns - self._start_ns) * CLOCK / 1e9), key)

    def _leave(self) -> None:
        pusher, self._pusher = self._pusher, None
        if pusher is not None:
            pusher.close()


class _Pusher:
    """A process that pushes, and the encoder of what it is given. Threads: one; `kill` and `sends` from any."""

    def __init__(self, uri: str, tls: TlsAddress | None, size_wh: tuple[int, int]) -> None:
        """
        Args:
            uri: address of the server.
            tls: address and certificates where it is reached over TLS.
            size_wh: pictures' width and height in pixels.

        Raises:
            SourceError: the server is not reached over TLS, or its certificate not trusted.
            OSError: the process does not start, or ends at once.
        """
        import av

        self._relay = None if tls is None else TlsRelay(tls, _STALLED_S)
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
            self._write(json.dumps([place, _STALLED_S]).encode() + b"\n")
            self._container = av.open(_Pipe(self._write), "w", format="nut", options={"flush_packets": "1"})
            self._stream = H264Stream(self._container, size_wh, _RATE, live=True)
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
