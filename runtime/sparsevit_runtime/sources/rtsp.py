"""Why an RTSP stream or another address does not open: OpenCV only says that it does not."""

from __future__ import annotations

import base64
import re
import socket
import ssl
from contextlib import suppress
from urllib.parse import unquote, urlsplit
from urllib.request import (
    AbstractDigestAuthHandler,
    HTTPPasswordMgrWithDefaultRealm,
    Request,
    parse_http_list,
    parse_keqv_list,
)

from ..errors import PermanentSourceError, SourceError, SourceNotFoundError
from .addresses import hide_password
from .base import Timeouts

_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935}
#: The question takes no longer, seconds.
_LONGEST_S = 3.0
#: Bytes of an answer's head that are read at most.
_LONGEST_HEAD = 65536


def diagnose(url: str, timeouts: Timeouts, tls: ssl.SSLContext | None = None) -> None:
    """Returns when nothing is wrong with the address as far as can be told.

    Args:
        url: address of the stream.
        timeouts: limits for the question.
        tls: settings of a connection to an ``rtsps://`` address.

    Raises:
        PermanentSourceError: the server wants another user or password, or has nothing at this address.
        SourceError: the host is unknown, not reached, or answers with an error.
    """
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), parts.hostname
    if scheme not in _PORTS or not host:
        return
    name = hide_password(url)
    port = parts.port or _PORTS[scheme]
    try:
        link = socket.create_connection((host, port), min(timeouts.open_s, _LONGEST_S))
    except OSError as error:
        raise SourceError(f"cannot open the stream {name}: {say_unreached(error, host, port)}") from error
    status = None
    with suppress(OSError), link:  # it hangs up, or says nothing
        if tls is not None:
            link = tls.wrap_socket(link, server_hostname=host)
        with link:
            status = _describe(link, url) if scheme in ("rtsp", "rtsps") else None
    _check_status(name, status)


def say_unreached(error: BaseException, host: str, port: int) -> str:
    """What a failed connection means, with the next step."""
    if isinstance(error, socket.gaierror):
        return f"there is no host {host!r} ({error.strerror}); check the address, the network and its DNS"
    if isinstance(error, TimeoutError):
        return f"{host} does not answer at port {port}; check that it is on and reached from here (ping {host})"
    if isinstance(error, ConnectionRefusedError):
        return f"{host} is there, but nothing listens at port {port}; check the port, and that its server runs"
    detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{host} is not reached at port {port} ({detail}); check the cable and the network"


def _check_status(name: str, status: int | None) -> None:
    if status in (401, 403):
        raise PermanentSourceError(f"cannot open the stream {name}: {say_refused(status, 'rtsp')}")
    if status in (404, 410):
        raise SourceNotFoundError(
            f"cannot open the stream {name}: the server has no such stream ({status}); check the path, which is in the "
            "camera's manual or its ONVIF settings"
        )
    if status is not None and status >= 400:
        raise SourceError(f"cannot open the stream {name}: the server answers with status {status}; look at its log")


def say_refused(status: int, scheme: str) -> str:
    """What a server's 401 or 403 means, with the next step."""
    what = "user and password are missing or wrong" if status == 401 else "this user may not see it"
    return f"{what} (status {status}); write {scheme}://user:password@host/path, special characters as %23 for #"


def _describe(link: socket.socket, url: str) -> int | None:
    """Status of what the server says to DESCRIBE, with the URL's user if it asks for one; None for no RTSP."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    status, head = _ask(link, bare, 1, "")
    challenge = re.search(r"^WWW-Authenticate:\s*(Digest|Basic)\s+(.*?)\s*$", head, re.IGNORECASE | re.MULTILINE)
    if status != 401 or challenge is None or parts.username is None:
        return status
    user, password = unquote(parts.username), unquote(parts.password or "")
    if challenge[1].lower() == "basic":
        proof = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    else:
        told = parse_keqv_list(list(filter(None, parse_http_list(challenge[2]))))
        passwords = HTTPPasswordMgrWithDefaultRealm()
        request = Request(bare.replace("rtsp", "http", 1), method="DESCRIBE")
        request.selector = bare
        passwords.add_password(None, request.full_url, user, password)
        made = AbstractDigestAuthHandler(passwords).get_authorization(request, told)
        if not made:
            return None
        proof = f"Digest {made}"
    return _ask(link, bare, 2, f"Authorization: {proof}\r\n")[0]


def _ask(link: socket.socket, url: str, number: int, extra: str) -> tuple[int | None, str]:
    link.sendall(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: {number}\r\nAccept: application/sdp\r\n{extra}\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _LONGEST_HEAD:
        got = link.recv(4096)
        if not got:
            break
        data += got
    head = data.partition(b"\r\n\r\n")[0].decode("latin-1")
    status = re.match(r"RTSP/\d\.\d (\d{3})", head)
    return (int(status[1]) if status else None), head
