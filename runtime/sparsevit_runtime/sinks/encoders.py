"""What turns pictures into video files: H.264 where PyAV brings an encoder, else what OpenCV itself can."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from ..errors import SinkError

_log = logging.getLogger(__name__)

#: OpenCV's codec of each container, and what people call it. Both come with OpenCV itself.
OPENCV_CODECS = {".mp4": ("mp4v", "MPEG-4"), ".avi": ("MJPG", "Motion JPEG")}
#: H.264 encoders of FFmpeg that run on a CPU.
_H264 = ("libx264", "libopenh264")
#: Encoding shares the cores with inference: the fastest preset takes a third of the default's time.
_H264_OPTIONS = {"libx264": {"preset": "ultrafast", "crf": "23"}}
#: MPEG-4 counts time in steps of at least 1/65535 s.
_MPEG4_STEPS = 65535


class Encoder(ABC):
    """Writes pictures of one size to one file.

    Attributes:
        codec: name of the codec, for people.
    """

    codec: str

    @abstractmethod
    def write(self, image: np.ndarray) -> None:
        """Takes a picture, (H, W, 3) uint8 BGR. Raises OSError where the encoder tells that it failed."""

    @abstractmethod
    def close(self) -> None:
        """Completes the file. Raises OSError likewise."""

    def abort(self) -> None:
        """Lets go of the file, whatever state it is in."""
        with suppress(Exception):
            self.close()


def open_encoder(path: Path, size_wh: tuple[int, int], fps: float) -> Encoder:
    """The best encoder that this machine has for a file.

    H.264 plays in browsers and notebooks, which MPEG-4 does not.

    Args:
        path: path of the file, .mp4 or .avi.
        size_wh: pictures' width and height in pixels; encoders drop the last row or column of odd sizes.
        fps: pictures per second.

    Raises:
        SinkError: none can.
    """
    if path.suffix.lower() == ".mp4":
        try:
            return H264Encoder(path, size_wh, fps)
        except Exception as error:  # PyAV is not here, or cannot: its errors have several bases. There is another one
            _log.info("no H.264 for %s: %s", path.name, error)
    return OpenCVEncoder(path, size_wh, fps)


class H264Encoder(Encoder):
    """H.264 in an .mp4 whose index stands at its beginning, so that it plays while it is still being loaded."""

    codec = "H.264"

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float) -> None:
        import av

        self._av = av
        name = next(name for name in _H264 if name in av.codecs_available)
        self._file = cast(Any, av.open(str(path), "w", options={"movflags": "faststart"}))
        try:
            rate = Fraction(fps).limit_denominator(1001)
            self._stream = self._file.add_stream(name, rate=rate, options=_H264_OPTIONS.get(name, {}))
            self._stream.width, self._stream.height = size_wh[0] // 2 * 2, size_wh[1] // 2 * 2
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.open()
        except BaseException:
            self.abort()
            raise

    def write(self, image: np.ndarray) -> None:
        # OpenCV converts in less than half of PyAV's time.
        even = image[: self._stream.height, : self._stream.width]
        planes = cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420)
        for packet in self._stream.encode(self._av.VideoFrame.from_ndarray(planes, format="yuv420p")):
            self._file.mux(packet)

    def close(self) -> None:
        try:
            for packet in self._stream.encode():
                self._file.mux(packet)
        finally:
            self._file.close()

    def abort(self) -> None:
        with suppress(Exception):
            self._file.close()


class OpenCVEncoder(Encoder):
    """MPEG-4 or Motion JPEG. OpenCV tells of no failed write: whoever closes it looks whether the file reads back."""

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float) -> None:
        fourcc, self.codec = OPENCV_CODECS[path.suffix.lower()]
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), _countable(fps), size_wh)
        if not self._writer.isOpened():
            path.unlink(missing_ok=True)
            raise SinkError(
                f"OpenCV cannot encode {fourcc} video of {size_wh[0]}x{size_wh[1]} at {fps:g} fps; sizes start at 2x2, "
                "and an OpenCV without FFmpeg writes only .avi. Write a folder of images instead"
            )

    def write(self, image: np.ndarray) -> None:
        self._writer.write(image)

    def close(self) -> None:
        self._writer.release()


def _countable(fps: float) -> float:
    """The nearest rate that MPEG-4 can count: OpenCV asks for as many decimals as the rate has, up to three."""
    decimals = next(d for d in (3, 2, 1, 0) if fps * 10**d <= _MPEG4_STEPS)
    return round(fps, decimals) or fps
