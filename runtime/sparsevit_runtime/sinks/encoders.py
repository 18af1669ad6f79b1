"""What turns pictures into video files: H.264 where PyAV brings an encoder, else what OpenCV itself can."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from ..errors import SinkError
from ..files import is_no_room
from .boxes import cut_to_whole_boxes
from .h264 import CLOCK, H264Stream

_log = logging.getLogger(__name__)

#: OpenCV's codec of each container, and what people call it. Both come with OpenCV itself.
OPENCV_CODECS = {".mp4": ("mp4v", "MPEG-4"), ".avi": ("MJPG", "Motion JPEG")}
#: The index at the beginning, so that the file plays while it is still being loaded.
_WHOLE_FLAGS = "faststart"
#: Fragments that each play by themselves, and in the end an ordinary file; for an FFmpeg before 7.1 fragments alone.
_LIVE_FLAGS = "frag_keyframe+empty_moov+default_base_moof"
_HYBRID_FLAGS = f"hybrid_fragmented+{_LIVE_FLAGS}"
#: A fragment of a recording begins after so long.
_FRAGMENT_NS = 1_000_000_000
#: MPEG-4 counts time in steps of at least 1/65535 s.
_MPEG4_STEPS = 65535
#: With less free space OpenCV's encoders, which tell of no failed write, are stopped: what they still hold fits.
_LEAST_FREE_BYTES = 2 << 20
#: What OpenCV's encoders repeat a picture for, in seconds or, at low rates, in pictures.
_LONGEST_HELD_S, _LONGEST_HELD_PICTURES = 60, 10


class Encoder(ABC):
    """Writes pictures of one size to one file.

    Attributes:
        codec: name of the codec, for people.
        longest_ns: nanoseconds that a picture may stand; a longer pause is for the next file.
        needs_closing: nothing of the file plays before it is closed.
    """

    codec: str
    longest_ns: int
    needs_closing: bool

    @abstractmethod
    def write(self, image: np.ndarray, at_ns: int) -> None:
        """Takes a picture.

        Args:
            image: (H, W, 3) uint8 BGR.
            at_ns: nanoseconds from the file's first picture to this one; more than for the one before.

        Raises:
            OSError: the encoder tells that it failed.
        """

    @abstractmethod
    def close(self) -> None:
        """Completes the file; the last picture stands as long as those before did on average. Raises OSError like
        `write`."""

    def abort(self) -> None:
        """Lets go of the file, whatever state it is in."""
        with suppress(Exception):
            self.close()


def open_encoder(path: Path, size_wh: tuple[int, int], fps: float, live: bool = False) -> Encoder:
    """The best encoder that this machine has for a file.

    H.264 plays in browsers and notebooks, which MPEG-4 does not.

    Args:
        path: path of the file, .mp4 or .avi.
        size_wh: pictures' width and height in pixels; encoders drop the last row or column of odd sizes.
        fps: pictures per second, where the encoder has to be told.
        live: the file plays at any moment, as far as it is written; an .mp4 of MPEG-4 does not.

    Raises:
        SinkError: none can.
        OSError: there is no room for a file's first bytes.
    """
    if path.suffix.lower() == ".mp4":
        for flags in (_HYBRID_FLAGS, _LIVE_FLAGS) if live else (_WHOLE_FLAGS,):
            try:
                return H264Encoder(path, size_wh, fps, flags)
            except Exception as error:  # PyAV is not here, or cannot: its errors have several bases. There is another
                if is_no_room(error):
                    raise
                _log.info("no H.264 (%s) for %s: %s", flags, path.name, error)
    return OpenCVEncoder(path, size_wh, fps)


class H264Encoder(Encoder):
    """H.264 in an .mp4, each picture at its own time.

    Args:
        path, size_wh, fps: see `open_encoder`.
        flags: FFmpeg's flags of the file; with fragments each is written out when it is complete.
    """

    codec = "H.264"
    #: The length of a picture has 32 bits.
    longest_ns = 3_600_000_000_000

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float, flags: str = _WHOLE_FLAGS) -> None:
        import av

        self._path = path
        self._live = flags != _WHOLE_FLAGS
        self.needs_closing = not self._live
        self._output = _Output(path) if self._live else None
        self._fragment_ns: int | None = None
        self._last = 0  # tick of the last picture; that of the first is 0
        self._count = 0
        self._nominal = max(1, round(CLOCK / fps))
        try:
            self._file = cast(
                Any,
                av.open(
                    cast(Any, self._output or str(path)),
                    "w",
                    format="mp4",
                    options={"movflags": flags, "flush_packets": "1"},
                ),
            )
            self._stream = H264Stream(self._file, size_wh, fps, self._live)
        except BaseException:
            self.abort()
            raise

    def write(self, image: np.ndarray, at_ns: int) -> None:
        key = self._live and (self._fragment_ns is None or at_ns - self._fragment_ns >= _FRAGMENT_NS)
        if key:
            self._fragment_ns = at_ns
        self._last = round(at_ns * CLOCK / 1e9)
        self._count += 1
        self._mux(self._stream.encode(image, self._last, key))

    def close(self) -> None:
        try:
            self._mux(self._stream.flush())
        finally:
            self._file.close()
            if self._output is not None:
                self._output.close()

    def abort(self) -> None:
        with suppress(Exception):
            if self._output is not None:
                self._output.closed = True
            self._file.close()
        if self._output is not None:
            self._output.close()
            cut_to_whole_boxes(self._path)

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            # The length of all but the last is in the end what lies between them.
            packet.duration = self._mean()
            self._file.mux(packet)

    def _mean(self) -> int:
        return max(1, round(self._last / (self._count - 1))) if self._count > 1 else self._nominal


class _Output:
    """A file that FFmpeg writes to; after its first failure nothing more is written, so that what is there stays."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.closed = False

    def write(self, data: bytes) -> int:
        if self.closed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self.closed = True
            raise
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self.closed = True
        self._file.close()


class OpenCVEncoder(Encoder):
    """MPEG-4 or Motion JPEG at a constant rate: a picture is repeated until the next one is due, and left out when the
    next one is due at the same moment, so that the length is right within one picture.

    OpenCV tells of no failed write: it is given nothing more when the disk is nearly full, and whoever closes it looks
    whether the file reads back.

    Args:
        path, size_wh, fps: see `open_encoder`.
    """

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float) -> None:
        fourcc, self.codec = OPENCV_CODECS[path.suffix.lower()]
        self._path = path
        self.needs_closing = path.suffix.lower() == ".mp4"
        self._rate = _countable(fps)
        # Every repeated picture is encoded.
        self.longest_ns = round(max(_LONGEST_HELD_S, _LONGEST_HELD_PICTURES / self._rate) * 1e9)
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), self._rate, size_wh)
        self._last: np.ndarray | None = None
        self._last_ns = 0
        self._count = 0  # pictures that came
        self._written = 0  # pictures in the file
        if not self._writer.isOpened():
            path.unlink(missing_ok=True)
            raise SinkError(
                f"OpenCV cannot encode {fourcc} video of {size_wh[0]}x{size_wh[1]} at {fps:g} fps; sizes start at 2x2, "
                "and an OpenCV without FFmpeg writes only .avi. Write a folder of images instead"
            )

    def write(self, image: np.ndarray, at_ns: int) -> None:
        self._check_room()
        due = round(at_ns * self._rate / 1e9)
        self._hold_until(due)
        if due >= self._written:
            self._writer.write(image)
            self._written += 1
        self._last, self._last_ns = image.copy(), at_ns
        self._count += 1

    def close(self) -> None:
        if self._count > 1:
            mean_ns = self._last_ns / (self._count - 1)
            self._hold_until(round((self._last_ns + mean_ns) * self._rate / 1e9))
        self._last = None
        self._writer.release()

    def _hold_until(self, due: int) -> None:
        while self._last is not None and self._written < due:
            self._writer.write(self._last)
            self._written += 1

    def _check_room(self) -> None:
        if shutil.disk_usage(self._path.parent).free < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _countable(fps: float) -> float:
    """The nearest rate that MPEG-4 can count: OpenCV asks for as many decimals as the rate has, up to three."""
    decimals = next(d for d in (3, 2, 1, 0) if fps * 10**d <= _MPEG4_STEPS)
    return round(fps, decimals) or fps
