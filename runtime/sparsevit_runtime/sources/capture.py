"""OpenCV's VideoCapture, made safe to close from another thread, and what this OpenCV can do."""

from __future__ import annotations

import os
import re
import threading
import time
from functools import lru_cache

import cv2
import numpy as np

# A damaged video makes FFmpeg write tens of thousands of lines; what matters is reported by the sources themselves.
# FFmpeg takes this setting when the first video is opened. 8 is AV_LOG_FATAL.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "8")


@lru_cache(maxsize=1)
def build_information() -> str:
    return str(cv2.getBuildInformation())


def opencv_has(feature: str) -> bool:
    """Whether this OpenCV was built with a feature of its build information, such as GStreamer or FFMPEG."""
    return bool(re.search(rf"^\s*{re.escape(feature)}:\s*YES", build_information(), re.MULTILINE))


class Capture:
    """A VideoCapture behind a lock. Reading and closing release the GIL and may happen in two threads.

    Args:
        target: file name, URL, pipeline or camera index.
        backend: one of OpenCV's ``cv2.CAP_...`` numbers.
        settings: pairs of property and value, flat, that take effect while opening.
    """

    def __init__(self, target: str | int, backend: int = cv2.CAP_ANY, settings: tuple[int, ...] = ()):
        self._lock = threading.Lock()
        self._capture = cv2.VideoCapture(target, backend, list(settings))

    @property
    def is_open(self) -> bool:
        return bool(self._capture.isOpened())

    @property
    def fps(self) -> float | None:
        """Nominal rate; None when the container gives none or nonsense."""
        value = self._capture.get(cv2.CAP_PROP_FPS)
        return float(value) if 0.01 <= value <= 1000.0 else None

    @property
    def frame_count(self) -> int | None:
        """Frames in total as the container tells; None for live streams."""
        value = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        return int(value) if 1 <= value < 2**40 else None

    def set(self, prop: int, value: float) -> None:
        """Asks for a property; cameras may ignore it."""
        self._capture.set(prop, value)

    def read(self) -> tuple[np.ndarray, int] | None:
        """The next image, (H, W, 3) uint8 BGR, and the wall clock in ns when it arrived; None when there is none."""
        with self._lock:
            if not self._capture.isOpened() or not self._capture.grab():
                return None
            arrived_ns = time.time_ns()
            done, image = self._capture.retrieve()
        if not done or image is None or image.size == 0:
            return None
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        elif image.shape[2] == 4:
            image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
        return image, arrived_ns

    def close(self) -> None:
        """Waits for a read in progress, then gives back the device or file."""
        with self._lock:
            self._capture.release()
