"""Who may come in: the token, the host that was asked for, and the page that asks."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .options import WebOptions

#: Open to everybody who reaches the port: they say nothing but yes and no.
_OPEN_PATHS = ("/healthz", "/readyz")
_COOKIE_SECONDS = 30 * 24 * 3600
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
_NOTHING = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_ASK = """<!doctype html><html lang="en"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>SparseViT Edge</title><h1>SparseViT Edge</h1><p>This page needs the token that was shown when the run began.</p>
<form action="/"><label>Token <input name="token" type="password" autocomplete="off" required></label>
<button>Open</button></form></html>"""


class Guard:
    """Lets requests through to an application, or refuses them, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, options: WebOptions, port: int) -> None:
        """
        Args:
            app: application behind it.
            options: token and host names.
            port: port that is listened at.
        """
        self._app = app
        self._token = options.token.encode()
        self._names = options.names if options.loopback else None
        self._cookie = f"sparsevit_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = _query_token(scope)
        refusal = self._refusal(scope, headers, given)
        if refusal is not None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": ""})
            else:
                await refusal(scope, receive, _with(send, _HEADERS | {"content-security-policy": _NOTHING}))
            return
        extra = dict(_HEADERS)
        if given and self._token and scope["type"] == "http":
            extra["set-cookie"] = (
                f"{self._cookie}={given}; Path=/; Max-Age={_COOKIE_SECONDS}; HttpOnly; SameSite=Strict"
            )
        await self._app(scope, receive, _with(send, extra))

    def _refusal(self, scope: Scope, headers: Headers, given: str) -> Response | None:
        """The answer to a request that is not let through."""
        host = headers.get("host", "").lower()
        if self._names is not None and not self._token and _without_port(host) not in self._names:
            return PlainTextResponse("This server answers to localhost only.\n", 421)  # else DNS rebinding comes in
        if not _same_site(scope, headers, host):
            return PlainTextResponse("Another site's page may not do this.\n", 403)
        if not self._token or scope["path"] in _OPEN_PATHS:
            return None
        offered = [given, _bearer(headers), _cookie(headers, self._cookie)]
        if any([hmac.compare_digest(each.encode("utf-8", "replace"), self._token) for each in offered]):
            return None
        if scope["path"] == "/":
            return HTMLResponse(_ASK, 403 if given else 401, {"www-authenticate": "Bearer"})
        if any(offered):
            return PlainTextResponse("The token is wrong.\n", 403)
        return PlainTextResponse("A token is needed.\n", 401, {"www-authenticate": "Bearer"})


def _same_site(scope: Scope, headers: Headers, host: str) -> bool:
    """Whether a browser says that the request comes from this server's own page, or by its user's hand."""
    acts = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
    origin = headers.get("origin")
    if acts and origin is not None and _default_port(origin) != _default_port(f"http://{host}"):
        return False
    site, mode = headers.get("sec-fetch-site", ""), headers.get("sec-fetch-mode", "")
    return site not in ("cross-site", "same-site") or (mode == "navigate" and not acts)


def _default_port(origin: str) -> str:
    """Host and port of an origin, the port left out where it is the scheme's own."""
    scheme, _, place = origin.lower().partition("://")
    return place.removesuffix(":443" if scheme == "https" else ":80")


def _without_port(host: str) -> str:
    name, mark, port = host.rpartition(":")
    return name if mark and port.isdecimal() else host


def _query_token(scope: Scope) -> str:
    try:
        query = parse_qs(str(scope["query_string"], "latin-1"), max_num_fields=20)
    except ValueError:  # more fields than that
        return ""
    return query["token"][0] if "token" in query else ""


def _bearer(headers: Headers) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _cookie(headers: Headers, name: str) -> str:
    try:
        cookies: SimpleCookie = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    value: str = cookies[name].value if name in cookies else ""
    return value


def _with(send: Send, extra: Mapping[str, str]) -> Send:
    """Puts headers on an answer; those it has of its own stay."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in extra.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
