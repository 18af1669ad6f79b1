"""A network camera that sends JPEGs of noise over HTTP, twenty a second, until it is gone."""

from __future__ import annotations

import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

FRAME_S = 0.05


class CameraServer(ThreadingHTTPServer):
    """Args: port: of 127.0.0.1; 0 for any. tls: settings of a server that speaks https. frame_s: seconds of a frame.

    Attributes: asked: paths that were asked for."""

    daemon_threads = True

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None, frame_s: float = FRAME_S) -> None:
        super().__init__(("127.0.0.1", port), _Camera)
        self.asked: list[str] = []
        self.frame_s = frame_s
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.gone = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_port}/live"

    def leave(self) -> None:
        """Nothing answers any more."""
        self.gone.set()
        self.shutdown()
        self.server_close()


class _Camera(BaseHTTPRequestHandler):
    server: CameraServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        noise = np.random.default_rng(0)
        while not self.server.gone.is_set():
            jpeg = cv2.imencode(".jpg", noise.integers(0, 255, (48, 64, 3), np.uint8))[1].tobytes()
            part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)
            try:
                self.wfile.write(part)
            except OSError:
                return
            time.sleep(self.server.frame_s)

    def log_message(self, *_: object) -> None:
        pass
