"""Live streams over the network that OpenCV reads: RTSP and its like, and video over http that does not end."""

from __future__ import annotations

import logging
import os

from ..errors import PermanentSourceError, SourceError
from .addresses import check_url, hide_password
from .base import Frame, Source, Timeouts
from .capture import CaptureLike, open_url
from .clock import WallClock
from .gstreamer import PipelineCapture, decodes_in_hardware, open_pipeline, stream_pipeline
from .pictures import Pictures
from .rtsp import diagnose
from .tls import TlsRelay, read_tls

_log = logging.getLogger(__name__)

#: Names what decodes RTSP: auto takes GStreamer where that has a Jetson's hardware decoder, else FFmpeg.
DECODER_VARIABLE = "SPARSEVIT_DECODER"
_DECODERS = ("auto", "ffmpeg", "gstreamer")
#: Pictures in a row that do not decode, while the link is there; joining between two key frames takes some.
_MOST_FAILURES = 500
#: A rate that a live stream states is believed up to here; above, it is the tick of a clock.
_HIGHEST_FPS = 240.0


class NetworkSource(Source):
    """A live stream, over one connection. Whoever wants it again after it broke opens it anew.

    Frames are stamped with the wall clock at arrival. Those that do not decode are left out and counted.

    Args:
        url: url of the stream; a password in it appears in no message.
        open_timeout_ms: longest wait for the connection, where OpenCV has FFmpeg.
        read_timeout_ms: longest wait for a frame, likewise.

    Raises:
        PermanentSourceError: the address is not valid, or its server refuses what is asked of it.
        SourceError: the stream cannot be opened. From `read`: it broke.
    """

    live = True

    def __init__(self, url: str, open_timeout_ms: int = 8000, read_timeout_ms: int = 5000):
        check_url(url)
        timeouts = Timeouts(open_timeout_ms / 1e3, read_timeout_ms / 1e3)
        self.name = hide_password(url)
        self._clock = WallClock()
        self._closed = False
        decoder = _wanted_decoder(url)
        tls = read_tls(url) if url.lower().startswith("rtsps://") else None
        self._relay = None if tls is None else TlsRelay(tls, timeouts.open_s)
        place = url if self._relay is None else self._relay.url
        capture = self._open(place, timeouts, decoder)
        if self._pending is None and isinstance(capture, PipelineCapture) and capture.cannot_decode:
            _log.warning("%s: GStreamer cannot decode it (%s); FFmpeg is tried", self.name, capture.error)
            capture.close()
            capture = self._open(place, timeouts, "ffmpeg")
        if self._pending is None:
            opened = capture.is_open
            capture.close()
            self._leave()
            if opened:
                raise SourceError(f"{self.name} answers, but no frame of it came within {timeouts.read_s:g} s")
            diagnose(url if tls is None else tls.url, timeouts, None if tls is None else tls.context())
            raise SourceError(f"cannot open the stream {self.name} within {timeouts.open_ms} ms; {_advice(url)}")
        height, width = self._pending[1].image.shape[:2]
        self.size_wh = (width, height)
        self.fps = capture.fps if (capture.fps or 0) <= _HIGHEST_FPS else None

    def _open(self, url: str, timeouts: Timeouts, decoder: str) -> CaptureLike:
        """Opens the stream, and reads the first picture."""
        capture: CaptureLike
        if decoder == "gstreamer":
            capture = open_pipeline(stream_pipeline(url, timeouts), timeouts)
        else:
            capture = open_url(url, timeouts, live=True)
        self._pictures = Pictures(
            capture, self.name, most_failures=_MOST_FAILURES, longest_s=timeouts.read_s, live=True
        )
        self._pending = self._pictures.read()
        return capture

    def read(self) -> Frame | None:
        if self._closed:
            return None
        self._pictures.ask(self.wants)
        got, self._pending = self._pending or self._pictures.read(), None
        if self._closed:
            return None
        if got is None:
            frames = self._pictures.index
            self.close()
            raise SourceError(f"the stream {self.name} broke after {frames} frames; check the camera and the network")
        index, picture = got
        self.damaged = self._pictures.damage.count
        return Frame(picture.image, index, self._clock.stamp(picture.arrived_ns), media_ns=picture.media_ns)

    def close(self) -> None:
        self._closed = True
        self._leave()  # a read in progress ends with its connection
        self._pictures.close()
        self._pictures.damage.finish()

    def _leave(self) -> None:
        if self._relay is not None:
            self._relay.close()


def _advice(url: str) -> str:
    if url.lower().startswith("udp://"):
        return (
            "nobody answers over udp: check that the sender sends to this machine and this port, that no firewall is "
            "between them, and try the address in a player: ffplay URL"
        )
    return (
        "check the address, user and password, that this machine reaches it (ping), and try the address in a player: "
        "ffplay -rtsp_transport tcp URL"
    )


def _wanted_decoder(url: str) -> str:
    """``ffmpeg`` or ``gstreamer``.

    Raises:
        PermanentSourceError: the variable names neither.
    """
    wanted = os.environ.get(DECODER_VARIABLE) or "auto"
    if wanted not in _DECODERS:
        raise PermanentSourceError(f"{DECODER_VARIABLE} is {wanted!r}; accepted: {', '.join(_DECODERS)}")
    if not url.lower().startswith(("rtsp://", "rtsps://")):
        return "ffmpeg"
    if wanted == "auto":
        return "gstreamer" if decodes_in_hardware() else "ffmpeg"
    return wanted
