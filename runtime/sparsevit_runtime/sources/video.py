"""Video files and videos behind an http address."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..errors import SourceError
from .base import Frame, Source
from .capture import Capture, opencv_has

_log = logging.getLogger(__name__)

#: Timestamps of a video that states no rate count at this one.
FALLBACK_FPS = 25.0


class VideoSource(Source):
    """Every frame of a video, in order.

    A video that stops before the frame its container announces ends the stream there, with a warning in the log.

    Args:
        target: path or http(s) URL.
        name: name for messages; the target when None.

    Raises:
        SourceError: nothing in it decodes.
    """

    def __init__(self, target: str, name: str | None = None):
        self.name = name or target
        self._capture = Capture(target)
        self._pending = self._capture.read()
        if self._pending is None:
            self._capture.close()
            raise SourceError(
                f"cannot decode any frame of {self.name!r}; the file is damaged or incomplete, is no video, or has a "
                f"codec this OpenCV lacks ({_decoders()}). Try playing it, or convert it: "
                "ffmpeg -i INPUT -c:v libx264 out.mp4"
            )
        height, width = self._pending[0].shape[:2]
        self.size_wh = (width, height)
        self.fps = self._capture.fps
        self.frame_count = self._capture.frame_count
        self._index = 0
        self._ended = False

    def read(self) -> Frame | None:
        if self._ended:
            return None
        got, self._pending = self._pending or self._capture.read(), None
        if self._ended:
            return None
        if got is None:
            self._end()
            return None
        index = self._index
        self._index += 1
        return Frame(got[0], index, round(index / (self.fps or FALLBACK_FPS) * 1e9))

    def close(self) -> None:
        self._ended = True
        self._pending = None
        self._capture.close()

    def _end(self) -> None:
        # Containers round the count from the duration, so a frame or two less is no damage.
        expected = self.frame_count or 0
        if self._index < expected - max(2, expected // 100):
            _log.warning("%s stops at frame %d of %d: the rest is missing or damaged", self.name, self._index, expected)
        self.close()


def open_video_file(path: Path) -> VideoSource:
    """Opens a video file.

    Raises:
        SourceError: it is empty, may not be read, or nothing in it decodes.
    """
    check_readable(path)
    # Whole, for FFmpeg takes what stands before a colon for a protocol.
    return VideoSource(str(path.absolute()), str(path))


def check_readable(path: Path) -> None:
    """Raises SourceError when a file is empty or may not be read."""
    if not os.access(path, os.R_OK):
        raise SourceError(f"no permission to read {str(path)!r}; change its mode or owner: chmod a+r {path}")
    if path.is_file() and path.stat().st_size == 0:
        raise SourceError(f"{str(path)!r} is empty (0 bytes); copy or download it again")


def _decoders() -> str:
    return ", ".join(f"{name} {'yes' if opencv_has(name) else 'no'}" for name in ("FFMPEG", "GStreamer"))
