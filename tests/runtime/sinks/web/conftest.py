"""A run that is served: a tiny model, cameras that never end, and visitors that speak plain HTTP."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from sparsevit_runtime.live.outlet import Outlet
from sparsevit_runtime.live.session import Session
from sparsevit_runtime.sinks.web.options import read_options
from sparsevit_runtime.sinks.web.sink import WebSink
from sparsevit_runtime.sources.base import Frame, Source

FPS = 40.0


class Camera(Source):
    """A live source of noise over a grey that changes with every frame."""

    live, fps = True, FPS

    def __init__(self, name: str = "front", size_wh: tuple[int, int] = (160, 120), error: Exception | None = None):
        self.name, self.size_wh, self.error = name, size_wh, error
        self._noise = np.random.default_rng(0).integers(0, 100, (size_wh[1], size_wh[0], 3), np.uint8)
        self._index = 0
        self._closed = threading.Event()

    def read(self) -> Frame | None:
        if self._closed.wait(1 / FPS):
            return None
        if self.error is not None:
            raise self.error
        self._index += 1
        shade = np.uint8(self._index * 8 % 150)
        return Frame(self._noise + shade, self._index - 1, time.time_ns())

    def close(self) -> None:
        self._closed.set()


class Stream:
    """A viewer of pictures."""

    def __init__(self, port: int, path: str = "/stream.mjpg", headers: dict[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._connection.request("GET", path, headers=headers or {})
        self.answer = self._connection.getresponse()

    def next(self) -> bytes:
        """The next JPEG; empty at the end."""
        length = None
        while line := self.answer.readline():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            elif line == b"\r\n" and length is not None:
                return self.answer.read(length)
        return b""

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


class Served:
    """A session and what serves it."""

    def __init__(self, sink: WebSink, session: Session, results: list) -> None:
        self.sink, self.session, self.results = sink, session, results
        self.port = int(sink.name.rpartition(":")[2])
        self.streams: list[Stream] = []

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, raw: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            if body is None and raw is None:
                connection.request("GET", path, headers=headers or {})
            else:
                data = json.dumps(body).encode() if raw is None else raw
                connection.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def state(self) -> dict[str, Any]:
        status, _, body = self.ask("/api/state")
        assert status == 200
        return json.loads(body)

    def look(self, path: str = "/stream.mjpg", headers: dict[str, str] | None = None) -> Stream:
        self.streams.append(Stream(self.port, path, headers))
        return self.streams[-1]


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)


@pytest.fixture
def serve(make_model) -> Iterator[Callable[..., Served]]:
    """Runs the tiny model on cameras and serves it at a free port; closes all at the end."""
    made: list[Served] = []

    def start(
        cameras: dict[str, Source] | None = None, query: str = "fps=60", *, start: bool = True, **options: Any
    ) -> Served:
        patience_s = options.pop("patience_s", 10.0)
        sink = WebSink(read_options(f"http://127.0.0.1:0/?{query}", {}), patience_s)
        results: list = []

        def keep(result, picture) -> None:
            results.append(result)

        outlets = [Outlet(sink), Outlet(keep), *options.pop("outlets", [])]
        session = Session(make_model().runner, cameras or {"front": Camera()}, outlets, **options)
        sink.attach(session)
        made.append(Served(sink, session, results))
        if start:
            session.start()
            wait_for(lambda: results)
        return made[-1]

    yield start
    for served in made:
        for stream in served.streams:
            stream.close()
        served.session.close()
        served.sink.close()
