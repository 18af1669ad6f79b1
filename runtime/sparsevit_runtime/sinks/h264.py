"""H.264 by PyAV, for files and for streams alike."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from ..errors import SinkError

#: Ticks of a stream's clock a second.
CLOCK = 90_000
#: Encoders of FFmpeg that run on a CPU.
_NAMES = ("libx264", "libopenh264")
#: Encoding shares the cores with inference: the fastest preset takes a third of the default's time.
_OPTIONS = {"libx264": {"preset": "ultrafast", "crf": "23"}}
#: For what is watched or recorded as it comes: no picture waits within the encoder.
_LIVE_OPTIONS = {"libx264": {"tune": "zerolatency", "forced-idr": "1"}}


class H264Stream:
    """The stream of pictures in a container that is open for writing; writes the container's beginning.

    Attributes:
        size_wh: pictures' width and height in pixels, both even.
    """

    def __init__(self, container: Any, size_wh: tuple[int, int], fps: float, live: bool) -> None:
        """
        Args:
            container: container of PyAV, opened with mode "w".
            size_wh: pictures' width and height in pixels; the last row or column of odd sizes is dropped.
            fps: pictures per second, for what wants to be told.
            live: each picture leaves the encoder at once.

        Raises:
            SinkError: this FFmpeg has no encoder.
            OSError: PyAV's errors are of this kind.
        """
        import av

        self._av, self._container = av, container
        name = next((name for name in _NAMES if name in av.codecs_available), None)
        if name is None:
            raise SinkError(f"this PyAV has no H.264 encoder ({' or '.join(_NAMES)}); install another")
        options = _OPTIONS.get(name, {}) | (_LIVE_OPTIONS.get(name, {}) if live else {})
        self._stream = container.add_stream(name, rate=Fraction(fps).limit_denominator(1001), options=options)
        self.size_wh = size_wh[0] // 2 * 2, size_wh[1] // 2 * 2
        self._stream.width, self._stream.height = self.size_wh
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, CLOCK)
        self._stream.codec_context.open()
        container.start_encoding()

    def encode(self, image: np.ndarray, tick: int, key: bool = False) -> list[Any]:
        """Encodes a picture.

        Args:
            image: (H, W, 3) uint8 BGR.
            tick: time in `CLOCK` ticks; more than for the one before.
            key: it can be shown without those before it.

        Returns:
            Packets to be muxed.
        """
        # OpenCV converts in less than half of PyAV's time.
        even = image[: self.size_wh[1], : self.size_wh[0]]
        frame = self._av.VideoFrame.from_ndarray(cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420), format="yuv420p")
        frame.time_base, frame.pts = Fraction(1, CLOCK), tick
        if key:
            frame.pict_type = self._av.video.frame.PictureType.I
        return list(self._stream.encode(frame))

    def flush(self) -> list[Any]:
        """Packets that the encoder still holds."""
        return list(self._stream.encode())
