"""Results posted to a web server: ``webhook+http(s)://...``."""

from __future__ import annotations

import base64
import http.client
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from ..certificates import parse_ca, say_tls, tls_context
from ..errors import SinkError
from .forwarder import FailedError, RefusedError, UnreachableError
from .options import parse_count, parse_duration, read_options
from .outgoing import SPOOL_OPTIONS, OutgoingSink, spool_folder
from .spool import DISK_BYTES, Spool

SCHEMES = ("webhook+http", "webhook+https")
_FORM = (
    "webhook+https://[user:password@]host[:port]/path[?...], of which ?batch=100&every=1s&timeout=10s&spool=FOLDER"
    "&spool_mb=256&ca=FILE are this sink's own"
)
_OPTIONS: dict[str, Callable[[str], Any]] = {
    "batch": parse_count,
    "ca": parse_ca,
    "every": parse_duration,
    "timeout": parse_duration,
} | SPOOL_OPTIONS
_BATCH, _EVERY_S, _TIMEOUT_S = 100, 1.0, 10.0
#: Answers that say "later", from the server or a proxy before it.
_LATER = (408, 425, 429, 502, 503, 504)
#: Bytes of an answer that are read, so that its connection can serve again.
_MOST_ANSWER = 65536


@dataclass(frozen=True)
class WebhookOptions:
    """Where results are posted, and how.

    Attributes:
        name: name without secrets: scheme and host. A path may be one.
        https: use of TLS.
        host, port: of the server.
        target: path and query.
        headers: headers of every request.
        batch: results of a request at most.
        every_s: wait for more results before a request that is not full, seconds.
        timeout_s: longest wait for the server, seconds.
        spool: folder of what waits; None for memory alone.
        spool_bytes: size of that folder at most.
        ca: file of the certificates that are trusted; None for the system's.
    """

    name: str
    https: bool
    host: str
    port: int | None
    target: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    batch: int = _BATCH
    every_s: float = _EVERY_S
    timeout_s: float = _TIMEOUT_S
    spool: Path | None = None
    spool_bytes: int = DISK_BYTES
    ca: Path | None = None


def read_webhook(uri: str) -> WebhookOptions:
    """Reads an address; options that are not this sink's stay in it.

    Raises:
        SinkError: it has another form.
    """
    scheme = uri.partition("://")[0].lower()
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SinkError(f"the {scheme} address is not valid; accepted: {_FORM}") from None
    if scheme not in SCHEMES or not host or parts.fragment:
        raise SinkError(f"the {scheme} address has no host, or a #; accepted: {_FORM}")
    name = f"{scheme}://{host}" + (f":{port}" if port else "")
    given = parse_qsl(parts.query, keep_blank_values=True)
    own = [(key, value) for key, value in given if key in _OPTIONS]
    # Read as options of the name, so that no message has the rest of the address.
    options = read_options(f"{name}?{urlencode(own)}" if own else name, _OPTIONS, _FORM)
    others = parts.query
    if own:
        others = urlencode([(key, value) for key, value in given if key not in _OPTIONS])
    headers = [("Content-Type", "application/json"), ("User-Agent", "sparsevit-edge")]
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers.append(("Authorization", f"Basic {base64.b64encode(user).decode()}"))
    if "ca" in options and scheme != "webhook+https":
        raise SinkError(f"{name}: certificates are for webhook+https://, and this sends everything in the clear")
    folder, size = spool_folder(name, options)
    return WebhookOptions(
        name,
        scheme.endswith("https"),
        host,
        port,
        (parts.path or "/") + (f"?{others}" if others else ""),
        tuple(headers),
        options.get("batch", _BATCH),
        options.get("every", _EVERY_S),
        options.get("timeout", _TIMEOUT_S),
        folder,
        size,
        options.get("ca"),
    )


def open_webhook(uri: str) -> OutgoingSink:
    """Posts results to a server, which need not be there yet.

    Raises:
        SinkError: the address has another form, or its spool cannot be used.
    """
    options = read_webhook(uri)
    sender = WebhookSender(options)
    return OutgoingSink(options.name, sender, Spool(options.spool, options.spool_bytes), batch_s=options.every_s)


class WebhookSender:
    """Posts batches as JSON lists over one connection. Threads: one, and any for `interrupt`.

    Attributes:
        most: results of a batch at most.
    """

    def __init__(self, options: WebhookOptions) -> None:
        self.most = options.batch
        self._options = options
        self._connection: http.client.HTTPConnection | None = None

    def send(self, messages: Sequence[bytes]) -> None:
        """See `forwarder.Sender.send`."""
        body = b"[" + b",".join(messages) + b"]"
        # A server may close what it kept open: that tells nothing, and it is asked on a new connection.
        attempts = 1 if self._connection is None else 2
        while True:
            try:
                status = self._post(body)
                break
            except (OSError, http.client.HTTPException) as error:
                self.close()
                attempts -= 1
                if not attempts or isinstance(error, TimeoutError):
                    raise UnreachableError(_told(error)) from error
        if 200 <= status < 300:
            return
        said = f"it answered {status} {http.client.responses.get(status, '')}".strip()
        if status in _LATER:
            raise UnreachableError(said)
        if status >= 500:
            raise FailedError(said)
        raise RefusedError(f"{said}; check the address, user and password")

    def tend(self) -> None:
        """Nothing: a connection is opened when it is needed."""

    def interrupt(self) -> None:
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.close()

    def _post(self, body: bytes) -> int:
        options = self._options
        connection = self._connection
        if connection is None:
            if options.https:
                connection = http.client.HTTPSConnection(
                    options.host, options.port, timeout=options.timeout_s, context=tls_context(options.ca)
                )
            else:
                connection = http.client.HTTPConnection(options.host, options.port, timeout=options.timeout_s)
            self._connection = connection
        connection.request("POST", options.target, body, dict(options.headers))
        response = connection.getresponse()
        response.read(_MOST_ANSWER)
        if not response.isclosed():
            self.close()
        return response.status


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return say_tls(error) or f"it cannot be reached ({getattr(error, 'strerror', None) or error})"
