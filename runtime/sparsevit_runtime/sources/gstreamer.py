"""GStreamer, for what it alone reads on a Jetson: streams through the hardware's decoder, and CSI sensors.

The system's OpenCV has it built in. The one from pip has not; beside it PyGObject (`gi`), one of the system's Python
packages, runs the pipelines.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np

from ..errors import PermanentSourceError, SourceError
from .base import Timeouts
from .capture import Capture, CaptureLike, Picture, opencv_has

#: Decodes H.264, H.265, VP9 and AV1 on a Jetson, and the element that brings its frames to the host.
HARDWARE_DECODER, HARDWARE_CONVERTER = "nvv4l2decoder", "nvvidconv"
#: Reads the CSI sensors of a Jetson.
CSI_SOURCE = "nvarguscamerasrc"
#: What brings GStreamer to a Python without it.
GET_PYGOBJECT = "sudo apt install python3-gi gir1.2-gstreamer-1.0, in an environment made with --system-site-packages"
#: End of every pipeline: BGR on the host, the newest picture alone.
_TO_HOST = "video/x-raw, format=BGR ! appsink name=frames drop=true max-buffers=1 sync=false"
#: Domains of GStreamer's errors that are not those of a connection or a device.
_DECODING_ERRORS = ("gst-stream-error-quark", "gst-core-error-quark", "gst-library-error-quark")
#: A read looks so often whether it was closed meanwhile, seconds.
_LOOK_S = 0.2
#: gst-inspect answers within a fraction of a second, unless it has to scan all plugins.
_INSPECT_S = 20.0


def gstreamer_host() -> Literal["opencv", "gi", ""]:
    """What runs pipelines here: this OpenCV, PyGObject, or nothing."""
    if opencv_has("GStreamer"):
        return "opencv"
    return "gi" if _gst() is not None else ""


@lru_cache(maxsize=64)
def has_element(name: str) -> bool | None:
    """Whether this machine's GStreamer has an element; None where neither PyGObject nor gst-inspect can say."""
    gst = _gst()
    if gst is not None:
        return gst.ElementFactory.find(name) is not None
    inspect = shutil.which("gst-inspect-1.0")
    if inspect is None:
        return None
    try:
        asked = subprocess.run([inspect, "--exists", name], capture_output=True, timeout=_INSPECT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.returncode == 0


def decodes_in_hardware() -> bool:
    """Whether streams can be decoded by a Jetson's hardware."""
    return bool(gstreamer_host()) and all(has_element(name) for name in (HARDWARE_DECODER, HARDWARE_CONVERTER))


def stream_pipeline(url: str, timeouts: Timeouts) -> str:
    """A pipeline that receives an RTSP stream over TCP and decodes it by the best decoder there is.

    Args:
        url: URL of the stream, user and password in it.
        timeouts: limits of the connection.
    """
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    # The decoder leaves its frames in the hardware's memory, in a layout of its own.
    hardware = f"{HARDWARE_CONVERTER} ! video/x-raw, format=BGRx ! " if decodes_in_hardware() else ""
    return (
        # buffer-mode: times are the sender's, not smoothed by when they came.
        f'rtspsrc location="{quoted}" protocols=tcp buffer-mode=none latency=0 '
        f"tcp-timeout={round(timeouts.read_s * 1e6)} ! "
        f"application/x-rtp, media=video ! decodebin ! {hardware}videoconvert ! {_TO_HOST}"
    )


def csi_pipeline(sensor: int, size_wh: tuple[int, int], fps: int, flip: int) -> str:
    """A pipeline of a Jetson's CSI sensor.

    Args:
        sensor: number of the sensor.
        size_wh: width and height in pixels.
        fps: frames per second.
        flip: flip-method of nvvidconv.
    """
    width, height = size_wh
    return (
        f"{CSI_SOURCE} sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM), width={width}, height={height}, framerate={fps}/1, format=NV12 ! "
        f"{HARDWARE_CONVERTER} flip-method={flip} ! video/x-raw, format=BGRx ! videoconvert ! {_TO_HOST}"
    )


def open_pipeline(pipeline: str, timeouts: Timeouts) -> CaptureLike:
    """Runs a pipeline that ends in BGR frames.

    Args:
        pipeline: text of the pipeline, as gst-launch takes it; its sink is called ``frames``.
        timeouts: limits; those of OpenCV's host are the elements' own.

    Raises:
        PermanentSourceError: nothing runs pipelines here.
        SourceError: this one cannot be built.
    """
    host = gstreamer_host()
    if host == "opencv":
        return Capture(pipeline, cv2.CAP_GSTREAMER)
    if not host:
        raise PermanentSourceError(
            f"there is no GStreamer here: neither this OpenCV nor PyGObject brings it; {GET_PYGOBJECT}"
        )
    return PipelineCapture(pipeline, timeouts)


class PipelineCapture:
    """A pipeline that PyGObject runs. Reading and closing release the GIL and may happen in two threads.

    Attributes:
        error: what the pipeline failed with; empty while it runs.
        cannot_decode: whether it failed for want of an element that decodes the stream, or of one that works.
        wants: see `CaptureLike`; what comes is converted already.
    """

    wants: Callable[[], bool] | None = None

    def __init__(self, pipeline: str, timeouts: Timeouts) -> None:
        """
        Args:
            pipeline: text of the pipeline; its sink is called ``frames``.
            timeouts: limits: the first frame comes within `open_s`, each other within `read_s`.

        Raises:
            PermanentSourceError: there is no PyGObject.
            SourceError: the text is no pipeline.
        """
        gst = _gst()
        if gst is None:
            raise PermanentSourceError(f"PyGObject is missing; {GET_PYGOBJECT}")
        self.error = ""
        self.cannot_decode = False
        self._gst = gst
        self._timeouts = timeouts
        self._lock = threading.Lock()
        self._closing = False
        self._over = False
        self._fps: float | None = None
        self._waits_s = timeouts.open_s
        try:
            self._pipeline = gst.parse_launch(pipeline)
        except importlib.import_module("gi.repository.GLib").Error as error:
            raise SourceError(f"GStreamer cannot build the pipeline ({_first_line(str(error))})") from error
        self._frames = self._pipeline.get_by_name("frames")
        self._bus = self._pipeline.get_bus()
        if self._pipeline.set_state(gst.State.PLAYING) == gst.StateChangeReturn.FAILURE:
            self._ask_bus()
            self._end()

    @property
    def is_open(self) -> bool:
        return not self._over

    @property
    def fps(self) -> float | None:
        """Nominal rate; None when the stream states none."""
        return self._fps

    def read(self) -> Picture | None:
        """The next picture; None when there is none in time, at the end, and after an error."""
        with self._lock:
            until = time.monotonic() + self._waits_s
            while not self._closing and not self._over and time.monotonic() < until:
                sample = self._frames.emit("try-pull-sample", round(_LOOK_S * self._gst.SECOND))
                if sample is not None:
                    self._waits_s = self._timeouts.read_s
                    return self._picture(sample, time.time_ns())
                self._ask_bus()
            return None

    def close(self) -> None:
        """Waits for a read in progress, then gives back what the pipeline holds."""
        self._closing = True
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._over = True
        self._pipeline.set_state(self._gst.State.NULL)

    def _ask_bus(self) -> None:
        """Looks whether the pipeline has failed or ended."""
        kinds = self._gst.MessageType
        message = self._bus.pop_filtered(kinds.ERROR | kinds.EOS)
        if message is None:
            return
        if message.type == kinds.ERROR:
            error, _ = message.parse_error()
            self.error = _first_line(error.message)
            self.cannot_decode = error.domain in _DECODING_ERRORS
        self._over = True

    def _picture(self, sample: Any, arrived_ns: int) -> Picture:
        structure = sample.get_caps().get_structure(0)
        (_, width), (_, height) = structure.get_int("width"), structure.get_int("height")
        if self._fps is None:
            known, rate, base = structure.get_fraction("framerate")
            self._fps = rate / base if known and rate and base else None
        buffer = sample.get_buffer()
        rows = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8).reshape(height, -1)
        image = rows[:, : 3 * width].reshape(height, width, 3).copy()  # rows are padded to a multiple of four bytes
        position_ns = None if buffer.pts == self._gst.CLOCK_TIME_NONE else int(buffer.pts)
        return Picture(image, arrived_ns, position_ns)


@lru_cache(maxsize=1)
def _gst() -> Any | None:
    """PyGObject's Gst, ready for use; None where it is missing."""
    try:
        gi = importlib.import_module("gi")
        gi.require_version("Gst", "1.0")
        gst = importlib.import_module("gi.repository.Gst")
        gst.init(None)
    except (ImportError, ValueError, AttributeError):  # as what a broken installation raises
        return None
    return gst


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[0]
