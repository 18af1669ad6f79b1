"""RTSP and http over TLS, with certificates that are checked.

FFmpeg and OpenCV take whatever certificate an ``rtsps://`` server shows. Here Python's TLS checks it, and what they
read and write goes through a relay on this machine's loopback.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Awaitable
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..certificates import is_trust_missing, parse_ca, say_tls, tls_context
from ..errors import PermanentSourceError, SourceError
from .addresses import hide_password
from .rtsp import say_unreached

_log = logging.getLogger(__name__)

_PORTS = {"rtsps": 322, "https": 443}
_LOCAL = "127.0.0.1"
_CHUNK = 1 << 16
#: Closing waits so long for the relay's thread, seconds.
_GRACE_S = 0.5
_FORM = "{}://[user:password@]host[:port]/path, with ?ca=FILE for certificates of one's own, or ?verify=no"


@dataclass(frozen=True)
class TlsAddress:
    """An ``rtsps://`` or ``https://`` address, and whom its server has to be.

    Attributes:
        name: address without its password.
        scheme: its beginning, ``rtsps`` or ``https``.
        host, port: of the server.
        user: user and password as they stand in the address, with their @; empty for none.
        target: path and query, without the options of TLS.
        ca: file of the certificates that are trusted; None for the system's.
        verify: whether the server has to prove who it is.
    """

    name: str
    scheme: str
    host: str
    port: int
    user: str
    target: str
    ca: Path | None
    verify: bool

    def context(self) -> ssl.SSLContext:
        """Settings of a connection."""
        return tls_context(self.ca, verify=self.verify)

    def local(self, port: int) -> str:
        """The address at which a relay is reached that listens at a port of this machine."""
        return f"rtsp://{self.user}{_LOCAL}:{port}{self.target}"

    @property
    def url(self) -> str:
        """The address without the options of TLS."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.user}{host}{port}{self.target}"


def read_tls(url: str) -> TlsAddress:
    """Reads an address; options that are not those of TLS belong to the server, and stay in it.

    Raises:
        PermanentSourceError: it has no host, or an option means nothing.
    """
    parts, name = urlsplit(url), hide_password(url)
    scheme = parts.scheme.lower()
    form = _FORM.format(scheme)
    if not parts.hostname:
        raise PermanentSourceError(f"{name!r} has no host; accepted: {form}")
    own: dict[str, str] = {}
    others = []
    for each in parts.query.split("&") if parts.query else []:
        key, _, value = each.partition("=")
        if key in ("ca", "verify"):
            own[key] = unquote(value)
        else:
            others.append(each)
    if own.get("verify", "yes") not in ("yes", "no"):
        raise PermanentSourceError(f"{name!r}: verify is yes or no, not {own['verify']!r}; accepted: {form}")
    try:
        ca = parse_ca(own["ca"]) if "ca" in own else None
    except ValueError as error:
        raise PermanentSourceError(f"{name!r}: the certificate {error}; accepted: {form}") from None
    user, at, _ = parts.netloc.rpartition("@")
    target = (parts.path or "/") + (f"?{'&'.join(others)}" if others else "")
    port = parts.port or _PORTS[scheme]
    return TlsAddress(name, scheme, parts.hostname, port, user + at, target, ca, own.get("verify", "yes") == "yes")


def refusal(address: TlsAddress, error: BaseException) -> SourceError:
    """What a connection failed with, for people."""
    said = say_tls(error)
    if said is None:
        return SourceError(f"cannot open {address.name}: {say_unreached(error, address.host, address.port)}")
    if not is_trust_missing(error):
        return SourceError(f"cannot open {address.name}: {said}")
    return PermanentSourceError(
        f"cannot open {address.name}: {said}. With ?verify=no the stream is encrypted, and whoever answers is believed"
    )


class TlsRelay:
    """Relays connections at a port of this machine's loopback to a server over TLS, until it is closed.

    The connection to the server is made at once, so that what is wrong with it is told; the first that comes gets it.

    Threads: one of its own, "sparsevit-tls"; `close` from any other.

    Attributes:
        url: address at which the stream is reached.
    """

    def __init__(self, address: TlsAddress, timeout_s: float) -> None:
        """
        Args:
            address: address of the server.
            timeout_s: longest wait for it, seconds.

        Raises:
            PermanentSourceError: the server's certificate is not trusted.
            SourceError: it is not reached, or does not speak TLS.
        """
        self._address, self._timeout_s = address, timeout_s
        self._context = address.context()
        self._ready: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, told: _log.debug("%s: %s", address.name, told.get("message")))
        self._thread = threading.Thread(target=self._run, name="sparsevit-tls", daemon=True)
        self._thread.start()
        try:
            port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout_s + 1)
        except (OSError, asyncio.TimeoutError, FutureTimeoutError) as error:
            self.close()
            raise refusal(address, error if isinstance(error, OSError) else TimeoutError()) from error
        self.url = address.local(port)

    def close(self) -> None:
        """Ends all connections. Safe to repeat."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not threading.current_thread():
            self._thread.join(_GRACE_S)

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        loop.run_forever()
        for task in (tasks := asyncio.all_tasks(loop)):
            task.cancel()
        loop.run_until_complete(_all(*tasks))
        for writer in self._writers:
            writer.transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    async def _start(self) -> int:
        self._ready = await self._connect()
        server = await asyncio.start_server(self._relay, _LOCAL, 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host = self._address.host
        opening = asyncio.open_connection(host, self._address.port, ssl=self._context, server_hostname=host)
        reader, writer = await asyncio.wait_for(opening, self._timeout_s)
        self._writers.add(writer)
        return reader, writer

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        server: asyncio.StreamWriter | None = None
        try:
            ready, self._ready = self._ready, None
            answers, server = ready or await self._connect()
            both = {asyncio.ensure_future(_pump(reader, server)), asyncio.ensure_future(_pump(answers, writer))}
            _, left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
        except (OSError, asyncio.TimeoutError) as error:
            _log.debug("%s: %s", self._address.name, error)
        finally:
            for each in filter(None, (writer, server)):
                each.close()  # what was written is still sent
                self._writers.discard(each)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


async def _all(*tasks: Awaitable[object]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
