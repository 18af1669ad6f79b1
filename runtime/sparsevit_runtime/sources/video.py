"""Videos that end: files, and those behind an http address."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

from ..errors import SourceError
from .addresses import hide_password
from .base import Frame, Source, Timeouts
from .capture import Capture, open_pipe, open_url, opencv_has, packet_times_ms
from .clock import MediaClock
from .pictures import Pictures

_log = logging.getLogger(__name__)

#: Frames of a video that states no rate count at this one.
FALLBACK_FPS = 25.0
#: Rates from here on may be a container's time base that stands where no rate is known: 1000 in WebM.
_DOUBTFUL_FPS = 100.0
#: A mean rate of less than this share of the stated one is taken for it.
_SLOWER = 0.8
#: Packets from which such a rate is measured.
_MEASURED_PACKETS = 500
#: Failures in a row that are the end where the container does not say that more should come; each costs next to nothing
#: there.
_MOST_FAILURES = 500
#: A video whose last frame is behind so much of its duration does not stop early.
_TO_THE_END = 0.95
#: Frames come at the nominal rate when so many of them are so near to it, in periods.
_MOSTLY, _UNEVEN = 0.8, 0.3
#: Failing that takes longer is a disk or a server that does not answer, seconds.
_LONGEST_FAILING_S = 30.0


class VideoSource(Source):
    """Every frame of a video, in order, at the times that the container states.

    A frame that does not decode is left out and counted, as are those that the container announces and does not hold,
    with a warning in the log. Where a container has no times, or they go back, the nominal rate takes their place.

    Args:
        target: path or http(s) URL. A pipe is read once, from its beginning to its end.
        name: name for messages; the target, without its password, when None.
        timeouts: limits for a URL.
        check_link: called when a video from a URL ends early; raises SourceError when the server is gone.

    Raises:
        SourceError: nothing in it decodes. From `read`: the server of a URL was lost.
    """

    def __init__(
        self,
        target: str,
        name: str | None = None,
        timeouts: Timeouts | None = None,
        check_link: Callable[[], None] | None = None,
    ):
        self.name = name or hide_password(target)
        self._check_link = check_link
        is_url = "://" in target
        timeouts = timeouts or Timeouts()
        is_file = os.path.isfile(target)
        if is_url:
            capture = open_url(target, timeouts, live=False)
        else:
            capture = Capture(target) if is_file else open_pipe(target)
        self.fps, self.frame_count = capture.fps, capture.frame_count
        self._announced = self.frame_count or 0
        if is_file:
            self._measure_rate(target)
        self._pictures = Pictures(
            capture,
            self.name,
            most_failures=_MOST_FAILURES,
            longest_s=timeouts.read_s if is_url else _LONGEST_FAILING_S,
            expected=self._announced,
            live=False,
        )
        self._pending = self._pictures.read()
        if self._pending is None:
            capture.close()
            if not is_url and not is_file:
                raise SourceError(
                    f"cannot decode any frame of the pipe {self.name!r}; what comes through one has to be readable "
                    "from its beginning on, as MPEG-TS, Matroska and MP4 in fragments are: "
                    "ffmpeg -i INPUT -c copy -f mpegts -"
                )
            raise SourceError(
                f"cannot decode any frame of {self.name!r}; the file is damaged or incomplete, is no video, or has a "
                f"codec this OpenCV lacks ({_decoders()}). Try playing it, or convert it: "
                "ffmpeg -i INPUT -c:v libx264 out.mp4"
            )
        height, width = self._pending[1].image.shape[:2]
        self.size_wh = (width, height)
        self.damaged = self._pictures.damage.count
        self._clock = MediaClock(self.fps or FALLBACK_FPS)
        self._next = self._even = 0
        self._ended = False

    def read(self) -> Frame | None:
        if self._ended:
            return None
        got, self._pending = self._pending or self._pictures.read(), None
        if self._ended:
            return None
        if got is None:
            self._end()
            return None
        index, picture = got
        self.damaged = self._pictures.damage.count
        before_ns = self._clock.last_ns
        stamp = self._clock.stamp(picture.media_ns, index + 1 - self._next)
        self._even += _is_even((stamp - before_ns) / 1e6, self.fps or FALLBACK_FPS)
        self._next = index + 1
        return Frame(picture.image, index, stamp, media_ns=picture.media_ns)

    def close(self) -> None:
        self._ended = True
        self._pending = None
        self._pictures.close()

    def lacks(self, frames: int) -> bool:
        """Whether so many frames are fewer than the container announces. It rounds the count from the duration, so a
        frame or two less is no damage."""
        return self._announced - frames > max(2, self._announced // 100)

    def _end(self) -> None:
        expected = self._announced
        missing = expected - self._next
        self._pictures.damage.finish()
        self.close()
        if not self.lacks(self._next):
            return
        if self._check_link is not None:
            try:
                self._check_link()
            except SourceError as error:
                raise SourceError(f"{self.name} broke off at frame {self._next} of {expected}: {error}") from error
        whole = self._clock.last_ns > _TO_THE_END * expected / (self.fps or FALLBACK_FPS) * 1e9
        if whole and self._even < _MOSTLY * self._next:
            return  # of a variable rate: the container's count was its duration by its nominal rate
        self.damaged += missing
        what = f"has {self._next}" if whole else f"stops at frame {self._next}"
        _log.warning("%s %s of %d: %d frames are missing or damaged", self.name, what, expected, missing)

    def _measure_rate(self, path: str) -> None:
        """Takes the mean of the first packets' times for the rate, and counts frames by it, where the stated rate is
        none or a variable one is lower."""
        duration_s = self.frame_count / self.fps if self.frame_count and self.fps else None
        times = sorted(islice(packet_times_ms(path), _MEASURED_PACKETS))
        span_s = (times[-1] - times[0]) / 1e3 if times else 0.0
        if len(times) < 2 or not 0 < span_s < 1e9:
            return
        mean = (len(times) - 1) / span_s
        if self.fps is not None and self.fps < _DOUBTFUL_FPS:
            # A higher mean may be that of packets without pictures, such as fields and references; a lower one, where
            # most are in time, comes of a gap.
            even = sum(_is_even(b - a, self.fps) for a, b in pairwise(times))
            if mean > _SLOWER * self.fps or even >= _MOSTLY * (len(times) - 1):
                return
        self.fps = mean
        self._announced = 0  # it was counted by a rate that is none
        if len(times) < _MEASURED_PACKETS:
            self.frame_count = len(times)
        elif duration_s is not None:
            self.frame_count = round(duration_s * self.fps)


def _is_even(step_ms: float, fps: float) -> bool:
    return abs(step_ms * fps / 1e3 - 1) < _UNEVEN


def open_video_file(path: Path) -> VideoSource:
    """Opens a video file.

    Raises:
        SourceError: it is empty, may not be read, or nothing in it decodes.
    """
    check_readable(path)
    # Absolute, for FFmpeg takes what stands before a colon for a protocol.
    return VideoSource(str(path.absolute()), str(path))


def check_readable(path: Path) -> None:
    """Raises SourceError when a file is not there, is empty, may not be read, or is a device or a folder."""
    if not path.exists():
        raise SourceError(f"there is no {str(path)!r}; check the path")
    if not os.access(path, os.R_OK):
        raise SourceError(f"no permission to read {str(path)!r}; change its mode or owner: chmod a+r {path}")
    if path.is_dir():
        raise SourceError(f"{str(path)!r} is a folder, and no video or image; name the files in it")
    if path.is_char_device() or path.is_block_device():
        raise SourceError(f"{str(path)!r} is a device, and no video or image; cameras are /dev/videoN")
    if path.is_file() and path.stat().st_size == 0:
        raise SourceError(f"{str(path)!r} is empty (0 bytes); copy or download it again")


def _decoders() -> str:
    return ", ".join(f"{name} {'yes' if opencv_has(name) else 'no'}" for name in ("FFMPEG", "GStreamer"))
