"""Annotated video: .mp4 or .avi."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SinkError
from ..files import put_in_place, resolve_links
from .base import Sink
from .paths import check_target, part_path

if TYPE_CHECKING:
    from ..tasks import Result

_log = logging.getLogger(__name__)

#: Codec of each container. Both come with OpenCV itself; MPEG-4 encodes in about half the time of Motion JPEG.
VIDEO_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
DEFAULT_FPS = 25.0


class VideoSink(Sink):
    """Writes a video under a temporary name in the same folder and renames it on `close`.

    The size is that of the first image; encoders drop the last row or column of odd sizes.

    Args:
        path: path of the video, .mp4 or .avi.
        fps: frames per second; 25 when None.
        overwrite: replaces a file that this program did not write.

    Raises:
        SinkError: the folder is missing or cannot be written, the file may not be replaced, the rate is out of range,
            or OpenCV has no encoder.
    """

    needs_image = True

    def __init__(self, path: Path, fps: float | None = None, overwrite: bool = True):
        self.name = str(path)
        self._path = path = resolve_links(path)
        self._fps = DEFAULT_FPS if fps is None else float(fps)
        if not 0.01 <= self._fps <= 1000.0:
            raise SinkError(f"{self.name}: the rate is {fps} frames per second; choose one from 0.01 to 1000")
        check_target(path, overwrite)
        self._part = part_path(path)
        self._writer: cv2.VideoWriter | None = None
        self._size_wh: tuple[int, int] | None = None
        self._closed = False
        # A trial file: a missing encoder shows now and not at the first frame.
        self._open((64, 64)).release()
        self._part.unlink(missing_ok=True)

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        image = self._checked(image)
        if self._closed:
            raise SinkError(f"{self.name} is closed; open a new sink")
        size_wh = (image.shape[1], image.shape[0])
        if self._writer is None or self._size_wh is None:
            self._writer, self._size_wh = self._open(size_wh), size_wh
        elif size_wh != self._size_wh:
            raise SinkError(
                f"{self.name} started with {self._size_wh[0]}x{self._size_wh[1]} and frame {result.frame_index} is "
                f"{size_wh[0]}x{size_wh[1]}; a video has one size: write a folder of images instead"
            )
        self._writer.write(image)

    def close(self) -> None:
        if self._closed:
            return
        if self._writer is None:
            self._closed = True
            _log.warning("%s: no frame was written, so there is no video", self.name)
            return
        self._writer.release()
        self._closed = True
        try:
            self._check_complete()
            put_in_place(self._part, self._path)
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise SinkError(f"cannot put the video in place at {self.name} ({error.strerror or error})") from error

    def abort(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            self._writer.release()
        self._part.unlink(missing_ok=True)

    def _open(self, size_wh: tuple[int, int]) -> cv2.VideoWriter:
        codec = VIDEO_CODECS[self._path.suffix.lower()]
        writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter.fourcc(*codec), self._fps, size_wh)
        if not writer.isOpened():
            self._part.unlink(missing_ok=True)
            raise SinkError(
                f"OpenCV cannot encode {codec} video of {size_wh[0]}x{size_wh[1]} at {self._fps:g} fps for {self.name}"
                "; sizes start at 2x2, and an OpenCV without FFmpeg writes only .avi. Write a folder of images instead"
            )
        return writer

    def _check_complete(self) -> None:
        """OpenCV reports no error when the disk fills up; a video that cannot be read back tells."""
        capture = cv2.VideoCapture(str(self._part))
        readable = capture.isOpened() and capture.grab()
        capture.release()
        if not readable:
            free_mb = shutil.disk_usage(self._path.parent).free / 1e6
            self._part.unlink(missing_ok=True)
            raise SinkError(f"the video {self.name} was not written whole; {free_mb:.0f} MB are free on that disk")
