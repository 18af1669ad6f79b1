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
from .encoders import OPENCV_CODECS, Encoder, open_encoder
from .paths import check_target, part_path

if TYPE_CHECKING:
    from ..tasks import Result

_log = logging.getLogger(__name__)

VIDEO_SUFFIXES = tuple(OPENCV_CODECS)
DEFAULT_FPS = 25.0


class VideoSink(Sink):
    """Writes a video under a temporary name in the same folder and renames it on `close`.

    The size is that of the first image; encoders drop the last row or column of odd sizes.

    Attributes:
        codec: H.264 where PyAV is installed, else MPEG-4; Motion JPEG for .avi.

    Args:
        path: path of the video, .mp4 or .avi.
        fps: frames per second; 25 when None.
        overwrite: replaces a file that this program did not write.

    Raises:
        SinkError: the folder is missing or cannot be written, the file may not be replaced, the rate is out of range,
            or OpenCV has no encoder.
    """

    needs_image = True

    codec: str

    def __init__(self, path: Path, fps: float | None = None, overwrite: bool = True):
        self.name = str(path)
        self._path = path = resolve_links(path)
        self._fps = DEFAULT_FPS if fps is None else float(fps)
        if not 0.01 <= self._fps <= 1000.0:
            raise SinkError(f"{self.name}: the rate is {fps} frames per second; choose one from 0.01 to 1000")
        check_target(path, overwrite)
        self._part = part_path(path)
        self._encoder: Encoder | None = None
        self._size_wh: tuple[int, int] | None = None
        self._closed = False
        # A trial file: a missing encoder shows now and not at the first frame.
        trial = self._open((64, 64))
        trial.abort()
        self.codec = trial.codec
        self._part.unlink(missing_ok=True)

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        image = self._checked(image)
        if self._closed:
            raise SinkError(f"{self.name} is closed; open a new sink")
        size_wh = (image.shape[1], image.shape[0])
        if self._encoder is None or self._size_wh is None:
            self._encoder, self._size_wh = self._open(size_wh), size_wh
        elif size_wh != self._size_wh:
            raise SinkError(
                f"{self.name} started with {self._size_wh[0]}x{self._size_wh[1]} and frame {result.frame_index} is "
                f"{size_wh[0]}x{size_wh[1]}; a video has one size: write a folder of images instead"
            )
        try:
            self._encoder.write(image)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        if self._closed:
            return
        if self._encoder is None:
            self._closed = True
            _log.warning("%s: no frame was written, so there is no video", self.name)
            return
        self._closed = True
        try:
            self._encoder.close()
            self._check_complete()
            put_in_place(self._part, self._path)
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise self._failed(error) from error

    def abort(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._encoder is not None:
            self._encoder.abort()
        self._part.unlink(missing_ok=True)

    def _open(self, size_wh: tuple[int, int]) -> Encoder:
        try:
            return open_encoder(self._part, size_wh, self._fps)
        except SinkError as error:
            raise SinkError(f"{self.name}: {error}") from error

    def _failed(self, error: OSError) -> SinkError:
        free_mb = shutil.disk_usage(self._path.parent).free / 1e6
        return SinkError(
            f"the video {self.name} was not written whole ({error.strerror or error}); {free_mb:.0f} MB are free on "
            "that disk"
        )

    def _check_complete(self) -> None:
        """OpenCV reports no error when the disk fills up; a video that cannot be read back tells."""
        capture = cv2.VideoCapture(str(self._part))
        readable = capture.isOpened() and capture.grab()
        capture.release()
        if not readable:
            raise OSError("it does not read back")
