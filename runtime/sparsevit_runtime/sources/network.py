"""Live streams over the network: RTSP and its like, and cameras that send JPEGs over http."""

from __future__ import annotations

import logging
import re
import threading
from urllib.parse import urlsplit

import cv2
import numpy as np

from ..errors import SourceError
from .base import Frame, Source
from .capture import Capture, opencv_has

_log = logging.getLogger(__name__)

#: Seconds to wait before each attempt to come back; after the last one the stream counts as lost.
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)
#: What an address starts with, also where a slash was forgotten.
_HEAD = re.compile(r"[a-z][a-z0-9+.-]*://|(?:https?|rtsps?|rtmp|srt|tcp|udp):/?", re.IGNORECASE)
_SECRET_OPTION = re.compile(r"([?&](?:\w*pass\w*|pwd|pw|\w*token|\w*secret|\w*key|auth)=)[^&#]*", re.IGNORECASE)


class NetworkSource(Source):
    """A live stream that is taken up again when it breaks.

    Args:
        url: url of the stream; a password in it appears in no message.
        open_timeout_ms: longest wait for the connection, where OpenCV has FFmpeg.
        read_timeout_ms: longest wait for a frame, likewise.
        backoff_s: seconds to wait before each attempt to reconnect; a frame that arrives starts it over.

    Attributes:
        reconnects: times the stream broke and came back.

    Raises:
        SourceError: the stream cannot be opened.
    """

    live = True

    def __init__(
        self,
        url: str,
        open_timeout_ms: int = 8000,
        read_timeout_ms: int = 5000,
        backoff_s: tuple[float, ...] = BACKOFF_S,
    ):
        check_url(url)
        self.name = hide_password(url)
        self.reconnects = 0
        self._url = url
        self._timeouts = (open_timeout_ms, read_timeout_ms)
        self._backoff_s = backoff_s
        self._index = 0
        self._closing = threading.Event()
        self._capture = self._connect()
        self._pending = self._capture.read()
        if self._pending is None:
            self._capture.close()
            raise SourceError(
                f"cannot open the stream {self.name} within {open_timeout_ms} ms; check the address, user and "
                "password, that this machine reaches it (ping), and try the address in a player: "
                "ffplay -rtsp_transport tcp URL"
            )
        height, width = self._pending[0].shape[:2]
        self.size_wh = (width, height)
        self.fps = self._capture.fps

    def read(self) -> Frame | None:
        got, self._pending = self._pending or self._capture.read(), None
        if got is None and not self._closing.is_set():
            got = self._reconnect()
        if got is None or self._closing.is_set():
            return None
        index = self._index
        self._index += 1
        return Frame(got[0], index, got[1])

    def close(self) -> None:
        self._closing.set()
        self._capture.close()

    def _connect(self) -> Capture:
        if not opencv_has("FFMPEG"):
            return Capture(self._url)
        opening, reading = self._timeouts
        settings = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, opening, cv2.CAP_PROP_READ_TIMEOUT_MSEC, reading)
        return Capture(self._url, cv2.CAP_FFMPEG, settings)

    def _reconnect(self) -> tuple[np.ndarray, int] | None:
        """The first image after coming back; None when closed meanwhile."""
        self._capture.close()
        for attempt, wait_s in enumerate(self._backoff_s, start=1):
            _log.warning(
                "%s broke after %d frames; attempt %d of %d to reconnect in %g s",
                self.name, self._index, attempt, len(self._backoff_s), wait_s,
            )  # fmt: skip
            if self._closing.wait(wait_s):
                return None
            self._capture = self._connect()
            got = self._capture.read()
            if self._closing.is_set():
                self._capture.close()
                return None
            if got is not None:
                self.reconnects += 1
                _log.warning("%s is back (reconnect %d)", self.name, self.reconnects)
                return got
            self._capture.close()
        raise SourceError(
            f"the stream {self.name} broke after {self._index} frames and did not come back in "
            f"{len(self._backoff_s)} attempts; check the camera and the network, then start again"
        )


def hide_password(url: str) -> str:
    """The URL with the user, the password and values of options that look like one replaced by stars; takes any text.

    A password with characters that end its part of a URL is hidden, too, and may hide what stands behind it.
    """
    head = _HEAD.match(url)
    if head is None:
        return url
    start, end = head.end(), _user_end(url, head.end())
    return _SECRET_OPTION.sub(r"\1***", url if end is None else f"{url[:start]}***{url[end:]}")


def check_url(url: str) -> None:
    """Raises SourceError when it is no URL, as where a password has characters that end its part of one."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        problem = "a # stands before the @" if "@" in parts.fragment and "@" not in parts.netloc else ""
    except ValueError as error:
        problem = str(error).partition(" as ")[0]  # the rest repeats what may be a password
    if problem:
        advice = "write rtsp://user:password@host:port/path"
        if "@" in url:
            advice += "; in user and password write %23 for #, %2F for /, %3F for ?, %40 for @ and %3A for :"
        raise SourceError(f"the address is not valid ({problem}): {hide_password(url)!r}; {advice}")


def _user_end(url: str, start: int) -> int | None:
    """Where user and password end, at an @; None where there are none."""
    host = re.split(r"[/?#]", url[start:], maxsplit=1)[0]
    if "@" in host:
        return start + host.rindex("@")
    unusual = ":" in host and "@" in url[start:]  # host and port, or user and half a password
    return url.rindex("@") if unusual else None
