"""Cameras on this machine: USB and other V4L2 devices, and CSI sensors of a Jetson."""

from __future__ import annotations

import glob
import os
import re
import sys
from pathlib import Path

import cv2

from ..errors import PermanentSourceError, SourceError
from .base import Frame, Source, Timeouts
from .capture import Capture, CaptureLike, opencv_has
from .clock import WallClock
from .gstreamer import CSI_SOURCE, GET_PYGOBJECT, csi_pipeline, gstreamer_host, has_element, open_pipeline
from .options import parse_number, parse_size, split_options
from .pictures import Pictures

_USAGE = "accepted: N or /dev/videoN, then optionally ?size=WxH&fps=F&format=MJPG"
_CSI_USAGE = "accepted: csi://N, then optionally ?size=WxH&fps=F&flip=0..7 (nvvidconv's flip-method)"
#: A camera may miss a frame when the bus is busy; this many in a row mean that it is gone.
_MISSED_FRAMES = 5


class CameraSource(Source):
    """Frames as a camera delivers them, stamped with the wall clock at arrival; those that it loses are counted.

    Args:
        capture: an open capture; the source owns it from here on.
        name: name of the camera.
        advice: the next step when no frame comes; ends the error message.

    Raises:
        SourceError: the first frame does not come.
    """

    live = True

    def __init__(self, capture: CaptureLike, name: str, advice: str):
        self.name = name
        self._advice = advice
        self._closed = False
        self._clock = WallClock()
        self._pictures = Pictures(capture, name, most_failures=_MISSED_FRAMES, longest_s=float("inf"), live=True)
        first = self._pending = self._next()
        if first is None:  # closed from another thread meanwhile
            raise SourceError(f"the camera {name} was closed while it was opened; open it again")
        self.fps = capture.fps

    def read(self) -> Frame | None:
        if self._closed:
            return None
        self._pictures.ask(self.wants)
        frame, self._pending = self._pending or self._next(), None
        return frame

    def close(self) -> None:
        self._closed = True
        self._pictures.close()
        self._pictures.damage.finish()

    def _next(self) -> Frame | None:
        got = self._pictures.read()
        if self._closed:
            return None
        if got is None:
            frames = self._pictures.index
            self.close()
            when = f"stopped after {frames} frames" if frames else "opened but delivers no frame"
            raise SourceError(f"the camera {self.name} {when}; {self._advice}")
        index, picture = got
        self.damaged = self._pictures.damage.count
        self.size_wh = self.size_wh or (picture.image.shape[1], picture.image.shape[0])
        return Frame(picture.image, index, self._clock.stamp(picture.arrived_ns))


def open_camera(uri: str) -> CameraSource:
    """Opens ``N`` or ``/dev/videoN``, with options ``?size=WxH&fps=F&format=FOUR``.

    Raises:
        SourceError: no such camera, no permission, an unknown option, or no frame comes.
    """
    head, options = split_options(uri, ("size", "fps", "format"), _USAGE)
    match = re.fullmatch(r"(?:/dev/video)?([0-9]{1,3})", head)
    if match is None:
        raise PermanentSourceError(f"{uri!r} names no camera; {_USAGE}")
    index = int(match[1])
    device = f"/dev/video{index}"
    size = parse_size(uri, options["size"], 16, 16384, _USAGE) if "size" in options else None
    fps = parse_number(uri, "fps", options["fps"], 0.1, 1000, _USAGE, whole=False) if "fps" in options else None
    pixels = options.get("format", "")
    if pixels and not (len(pixels) == 4 and pixels.isascii()):
        raise PermanentSourceError(f"{uri!r} has the format {pixels!r}, which is not a four-letter code; {_USAGE}")
    on_linux = sys.platform.startswith("linux")
    if on_linux:
        _check_device(device)
    capture = Capture(index, cv2.CAP_V4L2 if on_linux and opencv_has("v4l/v4l2") else cv2.CAP_ANY)
    advice = (
        "another program may hold it (fuser -v /dev/video*), the cable may be loose, or it is a metadata device: try "
        f"another one of {_devices()}"
    )
    if not capture.is_open:
        raise SourceError(f"cannot open the camera {device}; {advice}")
    # The pixel format goes first: it decides which sizes and rates the driver offers.
    if pixels:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*pixels))
    if size:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    if fps:
        capture.set(cv2.CAP_PROP_FPS, fps)
    # One buffer: a frame that waits in a queue is an old frame.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return CameraSource(capture, device if on_linux else f"camera {index}", advice)


def open_csi(uri: str, timeouts: Timeouts | None = None) -> CameraSource:
    """Opens ``csi://N``, with options ``?size=WxH&fps=F&flip=M``; 1280x720 at 30 by default.

    Raises:
        SourceError: there is no GStreamer, or not the element for these sensors, an unknown option, or no frame comes.
    """
    head, options = split_options(uri, ("size", "fps", "flip"), _CSI_USAGE)
    sensor = parse_number(uri, "sensor", head.partition("://")[2].strip("/") or "0", 0, 15, _CSI_USAGE, whole=True)
    size = parse_size(uri, options.get("size", "1280x720"), 16, 16384, _CSI_USAGE)
    fps = parse_number(uri, "fps", options.get("fps", "30"), 1, 240, _CSI_USAGE, whole=True)
    flip = parse_number(uri, "flip", options.get("flip", "0"), 0, 7, _CSI_USAGE, whole=True)
    if not gstreamer_host():
        raise PermanentSourceError(
            f"{uri!r} needs GStreamer, and neither this OpenCV ({cv2.__version__}) nor PyGObject brings it. On a "
            f"Jetson: {GET_PYGOBJECT}"
        )
    if has_element(CSI_SOURCE) is False:
        raise PermanentSourceError(
            f"{uri!r} needs GStreamer's {CSI_SOURCE}, which this machine has not. On a Jetson: sudo apt install "
            "nvidia-l4t-gstreamer; elsewhere there are no CSI cameras that it could read"
        )
    capture = open_pipeline(csi_pipeline(int(sensor), size, int(fps), int(flip)), timeouts or Timeouts())
    advice = (
        "check the ribbon cable and that the sensor is configured (sudo /opt/nvidia/jetson-io/jetson-io.py), ask for a "
        "mode it has (v4l2-ctl --list-formats-ext), and restart its service: sudo systemctl restart nvargus-daemon"
    )
    if not capture.is_open:
        raise SourceError(f"cannot open {uri!r} at {size[0]}x{size[1]}, {fps:g} fps; {advice}")
    return CameraSource(capture, f"csi://{int(sensor)}", advice)


def _devices() -> str:
    found = sorted(filter(_is_device, glob.glob("/dev/video*")), key=lambda name: (len(name), name))
    return ", ".join(found) or "none (no /dev/video* on this machine)"


def _is_device(name: str) -> bool:
    return Path(name).is_char_device()  # no folder that somebody made by mistake


def _check_device(device: str) -> None:
    if not _is_device(device):
        raise SourceError(
            f"there is no camera {device}; cameras present: {_devices()}. Plug one in (in a container, pass --device "
            f"{device}), or use a video file or synthetic://street"
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(
            f"no permission to use {device}; join the group 'video' and log in again: sudo usermod -aG video $USER"
        )
