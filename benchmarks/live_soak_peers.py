"""The world around a session, for `live_soak.py` and `live_throughput.py`, in a process of its own: two cameras over
http and their viewers.

    python benchmarks/live_soak_peers.py FPS [WIDTHxHEIGHT]

Takes lines on stdin, `stall a 4`, `lose b 3`, `resize a`, `view URL`, `leave`, `deaf URL 12`, `quit`; says the cameras'
ports in a JSON line at the start, and what was sent and seen in another at the end.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import cv2

from sparsevit_street import StreetScene

SIZES_WH = ((320, 180), (384, 216))
#: Pictures rendered; they are shown forwards and backwards.
_PICTURES = 20
#: Pictures per second of the scene, which moves at its own speed.
_SCENE_FPS = 4.0


class Camera(ThreadingHTTPServer):
    """JPEGs to everyone who asks, at one clock for all.

    Attributes:
        sent: pictures that went over the line.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, seed: int, fps: float, phase: float, sizes_wh: Sequence[tuple[int, int]] = SIZES_WH) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent = 0
        self._period_s, self._phase = 1 / fps, phase
        self._stalled_until = self._lost_until = 0.0
        self._size = 0
        self._pictures = [_render(size_wh, seed) for size_wh in sizes_wh]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stall(self, seconds: float) -> None:
        self._stalled_until = time.monotonic() + seconds

    def lose(self, seconds: float) -> None:
        self._lost_until = time.monotonic() + seconds

    def resize(self) -> None:
        self._size = (self._size + 1) % len(self._pictures)

    def send(self, request: BaseHTTPRequestHandler) -> None:
        if time.monotonic() < self._lost_until:
            raise OSError("the camera is away")
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        while True:
            now = time.monotonic()
            number = int(now / self._period_s - self._phase) + 1
            time.sleep(max(0.0, (number + self._phase) * self._period_s - now))
            if time.monotonic() < self._lost_until:
                raise OSError("the camera is away")
            if time.monotonic() < self._stalled_until:
                continue
            place = number % (2 * _PICTURES - 2)
            data = self._pictures[self._size][min(place, 2 * _PICTURES - 2 - place)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            request.wfile.write(head.encode() + data + b"\r\n")
            self.sent += 1


class _Handler(BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.server.send(self)

    def log_message(self, *args: object) -> None:
        pass


def _render(size_wh: tuple[int, int], seed: int) -> list[bytes]:
    scene = StreetScene(size_wh, seed, _SCENE_FPS)
    return [cv2.imencode(".jpg", scene.render(i)[0])[1].tobytes() for i in range(_PICTURES)]


class Viewers:
    """People who look. Attributes: seen: JPEGs that came. cut: those cut off who read nothing."""

    def __init__(self) -> None:
        self.seen = 0
        self.cut = 0
        self._lines: set[socket.socket] = set()
        self._stay = threading.Event()

    def view(self, url: str) -> None:
        self._stay.set()
        threading.Thread(target=self._view, args=(url,), daemon=True).start()

    def leave(self) -> None:
        """Nobody looks any more."""
        self._stay.clear()
        for line in list(self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def deaf(self, url: str, seconds: float) -> None:
        threading.Thread(target=self._deaf, args=(url, seconds), daemon=True).start()

    def _view(self, url: str) -> None:
        while self._stay.is_set():
            with suppress(OSError), _ask(url) as line:
                self._lines.add(line)
                try:
                    while data := line.recv(1 << 16):
                        self.seen += data.count(b"Content-Type: image/jpeg")
                finally:
                    self._lines.discard(line)
            time.sleep(0.5)

    def _deaf(self, url: str, seconds: float) -> None:
        try:
            with _ask(url) as line:
                time.sleep(seconds)
                line.settimeout(2)
                while line.recv(1 << 16):
                    pass
                self.cut += 1
        except TimeoutError:
            pass
        except OSError:
            self.cut += 1


def _ask(url: str) -> socket.socket:
    parts = urlsplit(url)
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that who reads nothing is soon full
    line.settimeout(30)
    line.connect((parts.hostname, parts.port))
    line.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.hostname}:{parts.port}\r\n\r\n".encode())
    return line


def main() -> None:
    fps, sizes_wh = float(sys.argv[1]), SIZES_WH
    if len(sys.argv) > 2:
        width, height = map(int, sys.argv[2].split("x"))
        sizes_wh = ((width, height),)
    cameras = {name: Camera(seed, fps, phase, sizes_wh) for name, seed, phase in (("a", 0, 0.0), ("b", 3, 0.5))}
    viewers = Viewers()
    print(json.dumps({name: camera.server_port for name, camera in cameras.items()}), flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "quit":
            break
        if word == "leave":
            viewers.leave()
        elif word in ("view", "deaf"):
            getattr(viewers, word)(*(float(each) if each[0].isdigit() else each for each in rest))
        else:
            getattr(cameras[rest[0]], word)(*map(float, rest[1:]))
    sent = {name: camera.sent for name, camera in cameras.items()}
    print(json.dumps({"sent": sent, "seen": viewers.seen, "cut": viewers.cut}), flush=True)


if __name__ == "__main__":
    main()
