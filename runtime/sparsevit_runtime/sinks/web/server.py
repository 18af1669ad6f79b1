"""uvicorn in a thread of its own, with connections that can be counted and cut off."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
import weakref
from typing import Any, ClassVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...errors import SinkError
from .options import WebOptions

#: Bytes of a request's head, and of a WebSocket message.
_MOST_BYTES = 16 * 1024
#: A visitor has so long to say what it wants, and to read the end of an answer, seconds.
_HEAD_S = 10.0
#: Bytes that may wait in the kernel for a viewer to read, beyond those under way: pictures are to be fresh.
_UNSENT_BYTES = 128 * 1024


class Connections:
    """Connections that are open. Threads: the event loop's."""

    def __init__(self, most: int) -> None:
        """
        Args:
            most: connections at most; further ones are refused.
        """
        self._most = most
        self._open: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()

    def admit(self, transport: asyncio.Transport) -> bool:
        """Whether there is room for one more, which is counted then."""
        if sum(_is_open(each) for each in self._open) >= self._most:
            return False
        self._open.add(transport)
        return True

    def cut(self, client: object = None) -> None:
        """Ends the connection of a client, (host, port), or all: at once, and without what it has not read."""
        for transport in list(self._open):
            if client is None or transport.get_extra_info("peername")[:2] == client:
                transport.abort()


def _is_open(transport: asyncio.BaseTransport) -> bool:
    """Whether a connection is there, also one that ends as soon as its visitor has read the rest."""
    peer = transport.get_extra_info("socket")
    return peer is not None and peer.fileno() != -1


class _Connection(H11Protocol):
    """Refuses visitors when there are too many, and those who neither say what they want nor read what they get."""

    known: ClassVar[Connections]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if not self.known.admit(transport):
            transport.abort()
            return
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if peer is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        self.loop.call_later(_HEAD_S, self._hurry)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(_HEAD_S, self.transport.abort)  # of no effect on those who have read it all

    def _hurry(self) -> None:
        if self.scope is None and not self.transport.is_closing():
            self.transport.abort()


class WebServer:
    """Serves an application until it is closed.

    Threads: one of its own, "sparsevit-web", with an event loop; `close` from any other.
    """

    def __init__(self, listener: socket.socket, app: ASGIApp, connections: Connections) -> None:
        """
        Args:
            listener: bound socket; closed at the end.
            app: application that answers.
            connections: those of this server alone.
        """
        self._connections = connections
        self._listener = listener
        self._loop: asyncio.AbstractEventLoop | None = None
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=type("Connection", (_Connection,), {"known": connections}),
            ws="websockets-sansio",
            ws_max_size=_MOST_BYTES,
            ws_max_queue=4,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=_MOST_BYTES,
            lifespan="off",
            log_config=None,
            log_level="warning",  # else it writes addresses with their tokens
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="sparsevit-web", daemon=True)

    def start(self, timeout_s: float = 10.0) -> None:
        """Begins to answer.

        Raises:
            SinkError: it does not.
        """
        self._listener.listen(128)  # visitors wait from now on
        self._thread.start()
        until = time.monotonic() + timeout_s
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                raise SinkError("the web server did not start; the log has the reason")
            time.sleep(0.005)

    def close(self, patience_s: float = 0.2) -> None:
        """Ends all connections and the server; safe to repeat.

        Args:
            patience_s: seconds for those who leave by themselves.
        """
        self._server.should_exit = True
        loop = self._loop
        if loop is None or self._thread is threading.current_thread():
            return
        self._thread.join(patience_s)
        if self._thread.is_alive() and not loop.is_closed():
            loop.call_soon_threadsafe(self._connections.cut)
            self._thread.join(patience_s + 0.3)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(patience_s)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._listener.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve([self._listener])


def bind(options: WebOptions) -> socket.socket:
    """A socket bound to the address.

    Raises:
        SinkError: the port is in use, may not be used, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
        listener.listen(1)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise SinkError(_why(options, error)) from error
    return listener


def _why(options: WebOptions, error: OSError) -> str:
    place = f"cannot serve at {options.host} port {options.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{place}: another program uses the port; end it, or take another one, as {options.port + 1}"
    if error.errno == errno.EACCES:
        return f"{place}: ports below 1024 are the system's; take another one, as 8080"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{place}: this is no address of this machine; 0.0.0.0 stands for all it has"
    return f"{place} ({error.strerror or error}); take another port"
