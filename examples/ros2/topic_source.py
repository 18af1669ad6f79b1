"""Images of a topic as a live source: the newest waits, whoever comes too late is left out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from conversions import frame_of

from sparsevit_runtime import Frame, Source
from sparsevit_runtime.errors import FrameError, ImageError

_log = logging.getLogger(__name__)


class TopicSource(Source):
    """Threads: `take` in the subscriber's, `read` in the session's, `close` in any.

    Attributes:
        frame_id: the camera's frame of coordinates, as the newest message's header says.
    """

    name, live = "image", True

    def __init__(self, image_of: Callable[[Any], np.ndarray]) -> None:
        """
        Args:
            image_of: makes (H, W, 3) uint8 BGR of a message; raises FrameError or ImageError where it cannot.
        """
        self.frame_id = ""
        self._image_of = image_of
        self._changed = threading.Condition()
        self._newest: tuple[int, Any] | None = None
        self._count = 0
        self._closed = False

    def take(self, message: Any) -> None:
        """Takes a message; returns at once."""
        with self._changed:
            self._newest = self._count, message
            self._count += 1
            self._changed.notify()

    def read(self) -> Frame | None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._newest is not None)
                if self._closed or self._newest is None:
                    return None
                (index, message), self._newest = self._newest, None
            try:
                image = self._image_of(message)
            except (FrameError, ImageError) as error:
                self.damaged += 1
                _log.warning("an image is left out: %s", error)
                continue
            self.frame_id = message.header.frame_id
            return frame_of(message, image, index)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
