"""An HTTP server for tests: what stands at each path is a function that answers."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

Answer = Callable[[BaseHTTPRequestHandler], None]
USER, PASSWORD = "me", "s3cr#t"


class Served(ThreadingHTTPServer):
    """Attributes: routes: answers by path. asked: paths asked for, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.routes: dict[str, Answer] = {}
        self.asked: list[str] = []

    def url(self, path: str, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        answer = self.server.routes.get(path)
        try:
            self.send_error(404) if answer is None else answer(self)
        except OSError:  # whoever asked has heard enough
            self.close_connection = True

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[Served]:
    server = Served()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def file(data: bytes, content_type: str = "application/octet-stream") -> Answer:
    """A file, in parts where they are asked for, as FFmpeg does to seek."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range", "").removeprefix("bytes=").partition("-")
        start = int(asked[0] or 0)
        request.send_response(206 if asked[1] else 200)
        request.send_header("Content-Type", content_type)
        request.send_header("Accept-Ranges", "bytes")
        if asked[1]:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        request.wfile.write(data[start:])

    return answer


def status(code: int) -> Answer:
    return lambda request: request.send_error(code)


def basic(inner: Answer) -> Answer:
    """The same for who gives user and password."""
    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Authorization") == wanted:
            inner(request)
        else:
            _challenge(request, 'Basic realm="camera"')

    return answer


def digest(inner: Answer) -> Answer:
    """The same by Digest."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        given = request.headers.get("Authorization", "")
        fields = dict(part.strip().split("=", 1) for part in given.removeprefix("Digest ").split(",") if "=" in part)
        told = {key: value.strip('"') for key, value in fields.items()}
        ha1 = hashlib.md5(f"{USER}:camera:{PASSWORD}".encode()).hexdigest()
        ha2 = hashlib.md5(f"GET:{request.path}".encode()).hexdigest()
        middle = ":".join(told.get(key, "") for key in ("nonce", "nc", "cnonce", "qop"))
        if told.get("response") == hashlib.md5(f"{ha1}:{middle}:{ha2}".encode()).hexdigest():
            inner(request)
        else:
            _challenge(request, 'Digest realm="camera", qop="auth", nonce="abc", algorithm=MD5')

    return answer


def _challenge(request: BaseHTTPRequestHandler, how: str) -> None:
    request.send_response(401)
    request.send_header("WWW-Authenticate", how)
    request.send_header("Content-Length", "0")
    request.end_headers()


def jpeg(shade: int, size_wh: tuple[int, int] = (64, 48)) -> bytes:
    return cv2.imencode(".jpg", np.full((size_wh[1], size_wh[0], 3), shade, np.uint8))[1].tobytes()


def camera(
    parts: list[bytes],
    *,
    content_type: str = "multipart/x-mixed-replace; boundary=frame",
    part: Callable[[bytes], bytes] | None = None,
    pause_s: float = 0.0,
) -> Answer:
    """A camera that sends these parts and hangs up; `part` makes what goes over the line of each."""

    def with_length(data: bytes) -> bytes:
        return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(data), data)

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", content_type)
        request.end_headers()
        for data in parts:
            request.wfile.write((part or with_length)(data))
            time.sleep(pause_s)

    return answer
