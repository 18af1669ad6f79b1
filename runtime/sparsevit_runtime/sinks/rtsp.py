"""The annotated picture pushed to an RTSP server, such as MediaMTX or go2rtc: ``rtsp://host/path``; the extra `video`.

FFmpeg announces and sends the stream (RFC 2326, ANNOUNCE and RECORD; RTP within the same connection), in a process of
its own (`rtsp_push.py`).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from ..dependencies import require
from ..errors import PermanentSourceError, SinkError, SourceError
from ..sources.addresses import check_url, hide_password
from ..sources.tls import TlsAddress, read_tls
from .base import Sink
from .forwarder import FIRST_WAIT_S, LONGEST_WAIT_S
from .h264 import CLOCK
from .rtsp_pusher import Pusher
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
        self._pusher: Pusher | None = None
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
            self._pusher = Pusher(self._uri, self._tls, size_wh, _RATE, _STALLED_S)
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
