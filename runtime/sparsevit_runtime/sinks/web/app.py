"""What is answered to which request."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ...errors import SparseViTError
from .control import Control
from .pictures import Key, Pictures, Viewer
from .server import Connections

#: Viewers of pictures at most, and pages at most.
MOST_VIEWERS = 16
#: Bytes of a body at most.
_MOST_BYTES = 4096
#: A snapshot waits so long for a frame, seconds.
_SNAPSHOT_S = 3.0
#: Seconds between two states of a page.
_STATE_S = 0.25
_BOUNDARY = b"sparsevit-picture"


class Endpoints:
    """Answers. Threads: the server's event loop."""

    def __init__(
        self,
        control: Control,
        pictures: Pictures,
        registry: CollectorRegistry,
        connections: Connections,
        patience_s: float,
    ) -> None:
        """
        Args:
            control: session that is shown.
            pictures: pictures of it.
            registry: its metrics.
            connections: connections of visitors, so that one can be cut off.
            patience_s: a visitor that reads nothing for so long is cut off, seconds.
        """
        self._control, self._pictures, self._registry = control, pictures, registry
        self._connections, self._patience_s = connections, patience_s
        self._pages: set[asyncio.Task[Any]] = set()
        self._said: tuple[float, str] = (0.0, "")
        self.app = Starlette(
            routes=[
                Route("/", self.page),
                Route("/stream.mjpg", self.stream),
                Route("/stream/{camera}.mjpg", self.stream),
                Route("/snapshot.jpg", self.snapshot),
                Route("/api/state", self.state),
                Route("/api/level", self.move, methods=["POST"]),
                Route("/api/governor", self.move, methods=["POST"]),
                Route("/api/recording", self.move, methods=["POST"]),
                Route("/metrics", self.metrics),
                Route("/healthz", self.healthz),
                Route("/readyz", self.readyz),
                WebSocketRoute("/ws", self.socket),
            ]
        )

    @property
    def viewers(self) -> int:
        """Pictures and pages that are open."""
        return self._pictures.viewers + len(self._pages)

    async def page(self, request: Request) -> Response:
        text, policy = _page()
        return HTMLResponse(text, headers={"content-security-policy": policy})

    async def healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request) -> Response:
        ready = self._control.ready
        return PlainTextResponse("ready\n" if ready else "no source delivers\n", 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def state(self, request: Request) -> Response:
        return Response(self._state(), media_type="application/json")

    async def stream(self, request: Request) -> Any:
        key = self._key(request.path_params.get("camera"), request)
        if key is None:
            return PlainTextResponse("There is no such camera.\n", 404)
        if self._pictures.viewers >= MOST_VIEWERS:
            return PlainTextResponse("Too many are looking.\n", 503, {"retry-after": "5"})
        if request.method == "HEAD":
            return Response(media_type=_Stream.media_type)
        return _Stream(self._pictures, key, self._connections, self._patience_s)

    async def snapshot(self, request: Request) -> Response:
        key = self._key(request.query_params.get("camera"), request)
        if key is None:
            return PlainTextResponse("There is no such camera.\n", 404)
        if self._pictures.viewers >= MOST_VIEWERS:
            return PlainTextResponse("Too many are looking.\n", 503, {"retry-after": "5"})
        viewer = Viewer()
        self._pictures.watch(key, viewer)
        try:
            picture = await asyncio.wait_for(viewer.next(), _SNAPSHOT_S)
        except asyncio.TimeoutError:
            picture = None
        finally:
            self._pictures.leave(key, viewer)
        if picture is None:
            return PlainTextResponse("There is no picture yet.\n", 503, {"retry-after": "2"})
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", key[0]).strip("-.") or "camera"
        stamp = time.strftime("%Y%m%d-%H%M%S")
        return Response(
            picture,
            media_type="image/jpeg",
            headers={"content-disposition": f'inline; filename="{name}-{stamp}.jpg"'},
        )

    async def move(self, request: Request) -> Response:
        """Sets the level, the governor or the recording, as the path says."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return JSONResponse({"error": "send application/json"}, 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BYTES:
                return JSONResponse({"error": f"no more than {_MOST_BYTES} bytes"}, 413)
        key, name = {"level": ("sparsity", "sparsity"), "governor": ("enabled", "governor")}.get(
            request.url.path.rpartition("/")[2], ("active", "recording")
        )
        wanted = _parsed(body)
        if wanted is None or set(wanted) != {key}:
            return JSONResponse({"error": f'send {{"{key}": ...}}'}, 400)
        error = await self._command({name: wanted[key]})
        return JSONResponse({"error": error}, 400) if error else Response(self._state(), media_type="application/json")

    async def socket(self, socket: WebSocket) -> None:
        """Tells a page the state, a few times a second, and does what it wants."""
        if len(self._pages) >= MOST_VIEWERS:
            await socket.close(1013)
            return
        await socket.accept()
        telling = asyncio.ensure_future(self._tell(socket))
        self._pages.add(telling)
        try:
            while True:
                wanted = _parsed((await socket.receive_text()).encode())
                error = "send a JSON object" if wanted is None else await self._command(wanted)
                if error:
                    await asyncio.wait_for(socket.send_json({"error": error}), self._patience_s)
                else:
                    self._said = (0.0, "")
        except (WebSocketDisconnect, KeyError, RuntimeError, asyncio.TimeoutError):
            pass  # gone, or it sent bytes
        finally:
            self._pages.discard(telling)
            telling.cancel()

    async def _tell(self, socket: WebSocket) -> None:
        try:
            await asyncio.wait_for(socket.send_json({"history": self._control.history()}), self._patience_s)
            while True:
                await asyncio.wait_for(socket.send_text(self._state()), self._patience_s)
                await asyncio.sleep(_STATE_S)
        except asyncio.TimeoutError:
            self._connections.cut(tuple(socket.scope["client"]))
        except (WebSocketDisconnect, RuntimeError):
            pass

    async def _command(self, wanted: Mapping[str, Any]) -> str:
        """Does what is wanted; the error, or nothing."""
        try:
            await asyncio.to_thread(self._control.command, wanted)
        except SparseViTError as error:
            return str(error)
        self._said = (0.0, "")
        return ""

    def _state(self) -> str:
        """The state as JSON, the same for all who ask within a moment."""
        now = time.monotonic()
        if now - self._said[0] > _STATE_S / 2:
            self._said = now, json.dumps(self._control.state(self.viewers), separators=(",", ":"), allow_nan=False)
        return self._said[1]

    def _key(self, camera: str | None, request: Request) -> Key | None:
        cameras = self._control.cameras
        if camera is None and cameras:
            camera = cameras[0]
        if camera is None or camera not in cameras:
            return None
        return camera, request.query_params.get("windows") == "1" and self._control.shows_windows


class _Stream:
    """Pictures without end to one viewer, each as soon as the one before has been read."""

    media_type = f"multipart/x-mixed-replace; boundary={_BOUNDARY.decode()}"

    def __init__(self, pictures: Pictures, key: Key, connections: Connections, patience_s: float) -> None:
        self._pictures, self._key = pictures, key
        self._connections, self._patience_s = connections, patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        viewer = Viewer()
        gone = asyncio.ensure_future(_left(receive))
        gone.add_done_callback(lambda _: viewer.close())
        self._pictures.watch(self._key, viewer)

        async def say(message: dict[str, Any]) -> None:
            await asyncio.wait_for(send(message), self._patience_s)

        try:
            headers = [(b"content-type", self.media_type.encode()), (b"x-accel-buffering", b"no")]
            await say({"type": "http.response.start", "status": 200, "headers": headers})
            await say({"type": "http.response.body", "body": b"--" + _BOUNDARY + b"\r\n", "more_body": True})
            while (picture := await viewer.next()) is not None:
                # The boundary comes behind its picture, so that a browser shows it at once.
                head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
                body = head + picture + b"\r\n--" + _BOUNDARY + b"\r\n"
                await say({"type": "http.response.body", "body": body, "more_body": True})
            if not gone.done():
                await say({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.TimeoutError:
            self._connections.cut(tuple(scope["client"]))
            await asyncio.wait([gone], timeout=1.0)
        finally:
            self._pictures.leave(self._key, viewer)
            gone.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _parsed(body: bytes) -> dict[str, Any] | None:
    """A JSON object, or None for anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@cache
def _page() -> tuple[str, str]:
    """The page, and the policy that allows its own style and script and no others."""
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    sources = {}
    for tag in ("style", "script"):
        block = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert block is not None
        sources[tag] = f"'sha256-{b64encode(hashlib.sha256(block[1].encode()).digest()).decode()}'"
    policy = (
        f"default-src 'none'; style-src {sources['style']}; script-src {sources['script']}; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    return text, policy
