"""A web server that takes results, and can be made to fail, stall and go away."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from certificates import Authority


def wait_until(holds: Callable[[], object], within_s: float = 10.0) -> None:
    """Waits for a condition; fails when it does not come about."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


class Hook(ThreadingHTTPServer):
    """Answers posts.

    Attributes:
        status: code of the answers.
        stalled: requests are read and not answered while this is set.
        batches: lists that came and were answered with 200, decoded.
        tried: requests that came, whatever the answer.
        headers: headers of the newest request.
        target: path and query of the newest request.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0, authority: Authority | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(authority.certificate, authority.key)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.status = 200
        self.stalled = threading.Event()
        self.batches: list[list[dict]] = []
        self.tried = 0
        self.headers: dict[str, str] = {}
        self.target = ""
        self._links: list[socket.socket] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def get_request(self):
        link, address = super().get_request()
        self._links.append(link)
        return link, address

    def leave(self) -> None:
        """Nothing answers any more, on old connections neither."""
        self.shutdown()
        self.server_close()
        for link in self._links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def frames(self) -> list[int]:
        """Indices of the frames that came."""
        return [each["frame"] for batch in self.batches for each in batch]


class _Handler(BaseHTTPRequestHandler):
    server: Hook
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hook = self.server
        hook.tried += 1
        hook.headers, hook.target = dict(self.headers), self.path
        while hook.stalled.is_set():
            time.sleep(0.01)
        status = hook.status
        if status == 200:
            hook.batches.append(json.loads(body))
        with suppress(OSError):  # whoever asked is gone
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass
