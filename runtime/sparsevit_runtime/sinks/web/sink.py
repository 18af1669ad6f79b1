"""The sink behind ``http://host:port``."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import SinkError
from ...images.frames import check_frame
from ..base import Sink
from .app import Endpoints
from .collector import registry_of
from .control import Control
from .device import DeviceCollector
from .figures import Figures
from .guard import Guard
from .options import WebOptions
from .pictures import Pictures
from .server import Connections, WebServer, bind

if TYPE_CHECKING:
    from ...tasks import Result

_log = logging.getLogger(__name__)

#: Connections at most, viewers, pages and requests together.
_MOST_CONNECTIONS = 64
#: A visitor that reads nothing for so long is cut off, seconds.
PATIENCE_S = 10.0


class WebSink(Sink):
    """Shows a run to browsers, and lets them move it.

    It takes a result in no time and never waits for a viewer: pictures are drawn by a thread of its own, and only while
    somebody looks. From the moment it is made it answers; `attach` gives it the session.

    Threads: "sparsevit-web" serves, "sparsevit-web-pictures" draws and encodes. `write` in one thread at a time.

    Attributes:
        url: address for a browser, with the token where one is needed.
    """

    may_block = False

    def __init__(self, options: WebOptions, patience_s: float = PATIENCE_S) -> None:
        """
        Args:
            options: where, for whom, and which pictures.
            patience_s: a visitor that reads nothing for so long is cut off, seconds.

        Raises:
            SinkError: the port is in use, or the address is not this machine's.
        """
        listener = bind(options)
        port = listener.getsockname()[1]
        self.name = f"http://{_in_url(options.host)}:{port}"
        self.url = f"http://{_reached_at(options)}:{port}/" + (f"?token={options.token}" if options.token else "")
        self._figures = Figures()
        self._control = Control(self._figures)
        self._pictures = Pictures(
            fps=options.fps,
            quality=options.quality,
            width=options.width,
            draw=lambda: self._control.draw,
            on_windows=self._control.ask_for_windows,
        )
        connections = Connections(_MOST_CONNECTIONS)
        self._device = DeviceCollector()
        registry = registry_of(self._control, self._figures, lambda: self._endpoints.viewers, self._device)
        self._endpoints = Endpoints(self._control, self._pictures, registry, connections, patience_s)
        self._server = WebServer(listener, Guard(self._endpoints.app, options, port), connections)
        self._closed = False
        self._pictures.start()
        try:
            self._server.start()
        except SinkError:
            self.close()
            raise

    @property
    def encoded(self) -> int:
        """Pictures encoded so far, for all viewers together."""
        return self._pictures.encoded

    def attach(self, session: Any) -> None:
        self._pictures.clear()
        self._control.attach(session)
        if self._pictures.windows_wanted:
            self._control.ask_for_windows(True)

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        if self._closed:
            raise SinkError(f"{self.name} is closed; open a new sink")
        if result.image is None and image is not None:
            image = check_frame(image)
        camera = self._control.see(result.source)
        self._control.task = self._control.task or str(result.to_dict().get("task", ""))
        self._figures.take(camera, result, result.image is not None or image is not None)
        self._pictures.take(camera, result, image)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._pictures.close()
        self._server.close()
        self._device.close()

    def abort(self) -> None:
        self.close()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _reached_at(options: WebOptions) -> str:
    """The host to type into a browser."""
    if options.host not in ("0.0.0.0", "::"):
        return _in_url(options.host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; the system picks the address it would send from
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
