"""What an address says about how to serve: where, for whom, and which pictures."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from ...errors import SinkError
from ...sources.addresses import hide_password
from ...texts import shown

#: Environment variable with the token, so that it does not stand in the list of processes.
TOKEN_VARIABLE = "SPARSEVIT_WEB_TOKEN"
_LOCAL = "127.0.0.1"
_FORM = "http://localhost:8080, or http://0.0.0.0:8080 for other machines; ?token=...&fps=15&quality=80&width=1280"
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,200}", re.ASCII)
#: Options with a number: least, most.
_RANGES = {"fps": (0.1, 120.0), "quality": (1, 100), "width": (64, 7680)}


@dataclass(frozen=True)
class WebOptions:
    """How a run is served.

    Attributes:
        host: address to listen at; not a name.
        port: port; 0 for any that is free.
        token: secret that every visitor has to know; empty for none, which only a loopback address may have.
        names: names of the host in a visitor's request, small letters.
        fps: pictures per second at most, each camera.
        quality: JPEG quality, 1 to 100.
        width: width of pictures at most, pixels.
    """

    host: str = _LOCAL
    port: int = 8080
    token: str = field(default="", repr=False)
    names: frozenset[str] = frozenset({"localhost", _LOCAL, "[::1]"})
    fps: float = 15.0
    quality: int = 80
    width: int = 1280

    @property
    def loopback(self) -> bool:
        """Whether only programs of this machine reach it."""
        return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback


def read_options(uri: str, environment: Mapping[str, str] = os.environ) -> WebOptions:
    """Reads ``http://host:port[/][?token=...&fps=...&quality=...&width=...]``.

    Without a host, and with ``localhost``, it is this machine's alone. Any other address needs a token: that of the
    option, else of `TOKEN_VARIABLE`, else one is made up.

    Raises:
        SinkError: it has another form, or the host is unknown.
    """
    said = shown(hide_password(uri).partition("?")[0])
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise SinkError(f"{said} is no address to serve at; accepted: {_FORM}") from None
    if parts.scheme == "https":
        raise SinkError(
            f"{said}: this server speaks http only; serve at http://localhost:PORT and put a reverse proxy with a "
            "certificate before it (docs/web.md)"
        )
    if parts.scheme != "http" or port is None or parts.path not in ("", "/") or parts.fragment or "@" in parts.netloc:
        raise SinkError(f"{said} is no address to serve at; accepted: {_FORM}")
    given = parse_qsl(parts.query, keep_blank_values=True)
    query = dict(given)
    unknown = sorted(set(query) - {"token", *_RANGES})
    if unknown or len(given) != len(query):
        what = f"the unknown option {unknown[0]!r}" if unknown else "an option twice"
        raise SinkError(f"{said} has {what}; accepted: {_FORM}")
    host = _address(parts.hostname or "localhost", port, said)
    token = query.get("token", environment.get(TOKEN_VARIABLE, ""))
    if ("token" in query or token) and not _TOKEN.fullmatch(token):
        raise SinkError(
            f"{said}: a token has 8 to 200 letters, digits and . _ ~ -; leave it out to have one made up, or set "
            f"{TOKEN_VARIABLE}"
        )
    options = WebOptions(
        host,
        port,
        token,
        WebOptions.names | {parts.netloc.rpartition(":")[0].lower() or "localhost"},
        _number(query, "fps", WebOptions.fps, said),
        round(_number(query, "quality", WebOptions.quality, said)),
        round(_number(query, "width", WebOptions.width, said)),
    )
    if options.token or options.loopback:
        return options
    return WebOptions(**{**vars(options), "token": secrets.token_urlsafe(16)})


def _address(host: str, port: int, said: str) -> str:
    if host == "localhost":
        return _LOCAL
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise SinkError(f"{said}: this machine does not know the host {host!r} ({error}); accepted: {_FORM}") from error
    return str(found[0][4][0])


def _number(query: Mapping[str, str], name: str, default: float, said: str) -> float:
    least, most = _RANGES[name]
    try:
        value = float(query.get(name, default))
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise SinkError(f"{said}: {name} is a number from {least:g} to {most:g}")
    return value
