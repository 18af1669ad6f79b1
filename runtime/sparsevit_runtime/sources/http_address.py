"""What stands behind an http address: a picture, a video that ends, or a camera that goes on."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPDigestAuthHandler,
    HTTPHandler,
    HTTPPasswordMgrWithDefaultRealm,
    HTTPSHandler,
    OpenerDirector,
    Request,
    build_opener,
)

from ..certificates import tls_context
from ..errors import PermanentSourceError, SourceError, SourceNotFoundError, SourceSilentError
from .addresses import check_url, hide_password, hide_passwords
from .base import Timeouts
from .rtsp import say_refused, say_unreached
from .tls import TlsAddress, read_tls, refusal

#: Bytes of a body that are read to know what it is.
_HEAD = 512
#: Bytes of a playlist that are read at most.
_LONGEST_PLAYLIST = 2**20
_SCHEMES = ("http", "https")


@dataclass(eq=False)
class HttpAnswer:
    """An answer of a server, its body not read yet.

    Attributes:
        name: address without its password.
        content_type: media type in small letters; empty when none is stated.
        parameters: whole of the Content-Type header.
        length: bytes of the body; None when not stated.
        chunked: whether the body says where it ends although its length is not stated.
        head: first bytes of the body, once `peek` was called.
    """

    name: str
    content_type: str
    parameters: str
    length: int | None
    chunked: bool
    _body: Any
    _socket: socket.socket | None
    head: bytes = b""

    def peek(self) -> bytes:
        """The first bytes of the body, which `read` gives again.

        Raises:
            SourceError: the link broke.
        """
        while len(self.head) < _HEAD and (got := self._receive(_HEAD - len(self.head))):
            self.head += got
        return self.head

    def read(self, most: int) -> bytes:
        """The next bytes of the body as they come, `most` at most; none at its end.

        Raises:
            SourceError: the link broke, or nothing came in time.
        """
        if self.head:
            given, self.head = self.head[:most], self.head[most:]
            return given
        return self._receive(most)

    def read_all(self, most: int) -> bytes:
        """The body to its end.

        Raises:
            SourceError: the link broke, the body is shorter than stated, or it has more than `most` bytes.
        """
        parts: list[bytes] = []
        while got := self.read(min(most, 2**16)):
            parts.append(got)
            if sum(map(len, parts)) > most:
                raise SourceError(f"{self.name} is longer than {most} bytes; download it, and give the file")
        data = b"".join(parts)
        if self.length is not None and len(data) < self.length:
            raise SourceError(f"{self.name} broke off after {len(data)} of {self.length} bytes; check the network")
        return data

    def close(self) -> None:
        """Ends the connection; a read in another thread returns."""
        if self._socket is not None:
            with suppress(OSError):  # the other side was first
                self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError, ValueError):
            self._body.close()

    def _receive(self, most: int) -> bytes:
        try:
            return bytes(self._body.read1(most))
        except AttributeError:  # as http.client says when it is closed in another thread
            return b""
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise SourceSilentError(
                    f"{self.name} broke off (nothing came in time); check the camera and the network"
                ) from error
            what = str(error) or type(error).__name__
            raise SourceError(f"{self.name} broke off ({what}); check the camera and the network") from error


def read_trust(url: str) -> tuple[str, TlsAddress | None]:
    """An address without the options of TLS, and whom its server has to be; None for one without TLS.

    Raises:
        PermanentSourceError: it is not valid.
    """
    check_url(url)
    if not url.lower().startswith("https://"):
        return url, None
    address = read_tls(url)
    return address.url, address


def ask(url: str, timeouts: Timeouts, trust: TlsAddress | None = None) -> HttpAnswer:
    """Sends a GET and returns the answer; user and password of the URL serve Basic and Digest authentication.

    Args:
        url: address, without the options of TLS.
        timeouts: limits of the connection.
        trust: whom the server has to be; None for whom the system trusts.

    Raises:
        PermanentSourceError: the address is not valid, user and password are refused, or the server's certificate is
            not trusted.
        SourceNotFoundError: the server has nothing there.
        SourceError: the host is unknown or not reached, or the server fails.
    """
    check_url(url)
    name = hide_password(url)
    parts = urlsplit(url)
    if parts.scheme.lower() not in _SCHEMES or not parts.hostname:
        raise PermanentSourceError(f"the address is not valid (no host): {name!r}; write http://host:port/path")
    try:
        return _send(url, name, timeouts, tls_context() if trust is None else trust.context())
    except ssl.SSLError as error:
        raise refusal(trust or read_tls(url), error) from error


def ends(answer: HttpAnswer, url: str, timeouts: Timeouts, trust: TlsAddress | None = None) -> bool:
    """Whether the video behind an answer has an end.

    A playlist says so itself. Other videos end where the server states their length, or sends a file in chunks; a
    transport stream in chunks, or a body that lasts as long as the connection, is a camera.
    """
    if _is_playlist(answer):
        return _playlist_ends(answer, url, timeouts, trust)
    if answer.length is not None:
        return True
    return answer.chunked and answer.content_type in ("video/mp4", "video/webm", "video/x-matroska", "video/quicktime")


def _is_playlist(answer: HttpAnswer) -> bool:
    return "mpegurl" in answer.content_type or answer.peek().lstrip(b"\xef\xbb\xbf").startswith(b"#EXTM3U")


def _playlist_ends(answer: HttpAnswer, url: str, timeouts: Timeouts, trust: TlsAddress | None, depth: int = 2) -> bool:
    text = answer.read_all(_LONGEST_PLAYLIST).decode("utf-8", "replace")
    if "#EXT-X-STREAM-INF" in text and depth:
        first = next((line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
        variant = ask(_with_user(urljoin(url, first), url), timeouts, trust)
        try:
            return _playlist_ends(variant, url, timeouts, trust, depth - 1)
        finally:
            variant.close()
    return "#EXT-X-ENDLIST" in text


def _with_user(url: str, base: str) -> str:
    """A URL of the same server with the user of another."""
    parts, known = urlsplit(url), urlsplit(base)
    user, mark, host = known.netloc.rpartition("@")
    return parts._replace(netloc=user + mark + host).geturl() if mark and parts.netloc == host else url


class _Http(HTTPHandler):
    """Keeps the socket of the connection, which `http.client` hides once the body is read."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def http_open(self, req: Request) -> Any:
        return self.do_open(partial(_keeping(http.client.HTTPConnection), self._sockets), req)


class _Https(HTTPSHandler):
    """The same over TLS."""

    def __init__(self, sockets: list[socket.socket], context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._sockets, self._tls = sockets, context

    def https_open(self, req: Request) -> Any:
        connect = partial(_keeping(http.client.HTTPSConnection), self._sockets)
        return self.do_open(connect, req, context=self._tls)


class _Digest(HTTPDigestAuthHandler):
    """Asks once: a camera locks an account that is tried with a wrong password again and again."""

    def http_error_401(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        told = " ".join(headers.get_all("www-authenticate") or []).lower().replace('"', "")
        if req.has_header(self.auth_header) and "stale=true" not in told:
            raise HTTPError(req.full_url, code, msg, headers, fp)
        return super().http_error_401(req, fp, code, msg, headers)


def _keeping(kind: type[http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
    class Connection(kind):  # type: ignore[valid-type, misc]
        def __init__(self, sockets: list[socket.socket], *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._sockets = sockets

        def connect(self) -> None:
            super().connect()
            self._sockets.append(self.sock)

    return Connection


def _opener(url: str, sockets: list[socket.socket], context: ssl.SSLContext) -> tuple[OpenerDirector, str]:
    """What sends requests, and the URL without its user."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    passwords = HTTPPasswordMgrWithDefaultRealm()
    if parts.username is not None:
        passwords.add_password(None, bare, unquote(parts.username), unquote(parts.password or ""))
    handlers = (_Digest(passwords), HTTPBasicAuthHandler(passwords))
    return build_opener(_Http(sockets), _Https(sockets, context), *handlers), bare


def _send(url: str, name: str, timeouts: Timeouts, context: ssl.SSLContext) -> HttpAnswer:
    sockets: list[socket.socket] = []
    opener, bare = _opener(url, sockets, context)
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
    try:
        request = Request(bare, headers={"User-Agent": "sparsevit", "Accept": "*/*"})
        body = opener.open(request, timeout=timeouts.open_s)
    except HTTPError as error:
        error.close()
        raise _status_error(name, error.code, parts.scheme) from None
    except ValueError as error:  # an authentication that urllib does not know
        raise PermanentSourceError(f"cannot open the stream {name}: {hide_passwords(str(error))}") from None
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLError):
            raise reason from None
        cause = reason if isinstance(reason, BaseException) else error
        why = say_unreached(cause, parts.hostname or "", port)
        raise SourceError(f"cannot open the stream {name}: {why}") from None
    link = sockets[-1] if sockets else None
    if link is not None:
        link.settimeout(timeouts.read_s)
    stated = body.headers.get("Content-Type", "")
    length = body.headers.get("Content-Length", "").strip()
    return HttpAnswer(
        name,
        stated.partition(";")[0].strip().lower(),
        stated,
        int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None,
        "chunked" in body.headers.get("Transfer-Encoding", "").lower(),
        body,
        link,
    )


def _status_error(name: str, status: int, scheme: str) -> SourceError:
    start = f"cannot open the stream {name}: "
    if status in (401, 403, 407):
        return PermanentSourceError(start + say_refused(status, scheme))
    if status in (404, 410):
        return SourceNotFoundError(
            f"{start}the server has nothing at this path (status {status}); check it, letter for letter, or look up "
            "the stream's path in the camera's manual"
        )
    if status in (400, 405, 406, 414):
        return PermanentSourceError(f"{start}the server refuses the request (status {status}); check the address")
    return SourceError(f"{start}the server answers with status {status}; look at the camera's or the server's log")
