"""OpenCV's VideoCapture, made safe to close from another thread, and what this OpenCV can do."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Protocol

import cv2
import numpy as np

from ..errors import PermanentSourceError, SourceError
from ..texts import RENAME, is_unicode, shown
from .addresses import hide_password
from .base import Timeouts
from .clock import media_ns

# A damaged video makes FFmpeg write tens of thousands of lines; what matters is reported by the sources themselves.
# FFmpeg takes this setting when the first video is opened. 8 is AV_LOG_FATAL.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "8")

#: OpenCV's LOG_LEVEL_ERROR, which not every build names.
_LOG_ERRORS = 2
#: FFmpeg decodes as many frames at once as it has threads, and each of them is one period of delay.
_LIVE_THREADS = 2


@lru_cache(maxsize=1)
def build_information() -> str:
    return str(cv2.getBuildInformation())


def opencv_has(feature: str) -> bool:
    """Whether this OpenCV was built with a feature of its build information, such as GStreamer or FFMPEG."""
    return bool(re.search(rf"^\s*{re.escape(feature)}:\s*YES", build_information(), re.MULTILINE))


@dataclass(frozen=True, slots=True)
class Picture:
    """What a capture gave.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        arrived_ns: wall clock when it came, nanoseconds.
        media_ns: position in the media that the decoder tells, nanoseconds; None where it tells none.
        skipped: pictures before it that were not wanted.
    """

    image: np.ndarray
    arrived_ns: int
    media_ns: int | None
    skipped: int = 0


class CaptureLike(Protocol):
    """What gives pictures: read by one thread, closed by any.

    Attributes:
        wants: see `Source.wants`; captures that cannot leave a picture out ask nobody.
    """

    wants: Callable[[], bool] | None

    @property
    def is_open(self) -> bool: ...
    @property
    def fps(self) -> float | None: ...
    def read(self) -> Picture | None: ...
    def close(self) -> None: ...


class Capture:
    """A VideoCapture behind a lock. Reading and closing release the GIL and may happen in two threads.

    Args:
        target: file name, URL, pipeline or camera index.
        backend: one of OpenCV's ``cv2.CAP_...`` numbers.
        settings: pairs of property and value, flat, that take effect while opening.

    Attributes:
        held: file that is open as long as the capture, which reads its descriptor.
        wants: see `Source.wants`. One that is not wanted is not converted, nor decoded where it is a JPEG of a camera.

    Raises:
        PermanentSourceError: the target is no Unicode.
        SourceError: OpenCV does not take the target at all.
    """

    held: IO[bytes] | None = None
    wants: Callable[[], bool] | None = None

    def __init__(self, target: str | int, backend: int = cv2.CAP_ANY, settings: tuple[int, ...] = ()):
        self._lock = threading.Lock()
        self._skipped = 0
        if isinstance(target, str) and not is_unicode(target):
            raise PermanentSourceError(f"cannot open {shown(hide_password(target))}: {RENAME}")
        try:
            self._capture = cv2.VideoCapture(target, backend, list(settings))
        except cv2.error as error:
            raise SourceError(f"OpenCV cannot open {hide_password(str(target))!r} ({error.err})") from error

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

    def read(self) -> Picture | None:
        """The next picture; None when there is none: one that does not decode, the end, or a broken link."""
        while True:
            with self._lock:
                if not self._capture.isOpened() or not self._capture.grab():
                    return None
                arrived_ns = time.time_ns()
                if self.wants is None or self.wants():
                    return self._picture(arrived_ns)
                self._skipped += 1

    def _picture(self, arrived_ns: int) -> Picture | None:
        """Makes the picture that was decoded last. The caller holds the lock."""
        done, image = self._capture.retrieve()
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if not done or image is None or image.size == 0:
            return None
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        elif image.shape[2] == 4:
            image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
        skipped, self._skipped = self._skipped, 0
        return Picture(image, arrived_ns, media_ns(position), skipped)

    def seek(self, position_ns: int) -> None:
        """Goes near to a position in a file; the next picture may be one before it, or after."""
        with self._lock:
            self._capture.set(cv2.CAP_PROP_POS_MSEC, position_ns / 1e6)

    def skip(self) -> int | None:
        """Decodes the next picture without making it.

        Returns:
            Its position in the media in nanoseconds; None when there is none.
        """
        with self._lock:
            if not self._capture.isOpened() or not self._capture.grab():
                return None
            return media_ns(self._capture.get(cv2.CAP_PROP_POS_MSEC))

    def skipped(self) -> Picture | None:
        """The picture that `skip` decoded last; None where it cannot be made."""
        with self._lock:
            return self._picture(time.time_ns())

    def close(self) -> None:
        """Waits for a read in progress, then gives back the device or file."""
        with self._lock:
            self._capture.release()
            if self.held is not None:
                self.held.close()


@lru_cache(maxsize=1)
def _quiet() -> None:
    """Keeps OpenCV from a line for every address that does not open: a camera that is away is tried again and again."""
    if "OPENCV_LOG_LEVEL" not in os.environ and hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(_LOG_ERRORS)


def open_url(url: str, timeouts: Timeouts, *, live: bool) -> Capture:
    """A capture of a URL, which may not have opened; with FFmpeg, where this OpenCV has it, the timeouts hold."""
    _quiet()
    if not opencv_has("FFMPEG"):
        return Capture(url)
    settings = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeouts.open_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeouts.read_ms)
    return Capture(url, cv2.CAP_FFMPEG, (*settings, cv2.CAP_PROP_N_THREADS, _LIVE_THREADS) if live else settings)


def open_pipe(path: str) -> Capture:
    """A capture of a pipe, which may not have opened. Waits for whoever writes into it, and may be interrupted then.

    Raises:
        SourceError: it cannot be opened, or this OpenCV cannot read one.
    """
    if not opencv_has("FFMPEG"):
        raise SourceError(f"{path!r} is a pipe, which this OpenCV, built without FFmpeg, does not read; name a file")
    try:
        # By Python: a signal is heard while it waits. And once: whoever opened it again would wait for another writer.
        held = open(path, "rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise SourceError(f"cannot open {path!r} ({error.strerror})") from error
    capture = Capture(f"pipe:{held.fileno()}", cv2.CAP_FFMPEG)
    capture.held = held
    return capture


def packet_times_ms(path: str) -> Iterator[float]:
    """Times of a file's packets in milliseconds, in the order of the file; nothing is decoded."""
    return (time_ms for time_ms, _ in packets(path))


def packets(path: str, failures: int = 0) -> Iterator[tuple[float, bool]]:
    """Time in milliseconds of each of a file's packets, and whether it is a key frame; nothing is decoded.

    Args:
        path: path of the file.
        failures: failures in a row behind which it is looked for more; those before a packet are told as one of no
            time, NaN.
    """
    capture = cv2.VideoCapture(path)
    try:
        failed = 0 if capture.set(cv2.CAP_PROP_FORMAT, -1) else failures + 1
        while failed <= failures:
            if not capture.grab():
                failed += 1
                continue
            if failed:
                yield math.nan, False
                failed = 0
            key = capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME) > 0
            yield float(capture.get(cv2.CAP_PROP_POS_MSEC)), key
    finally:
        capture.release()
