"""A window on the screen."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SinkError
from .base import Sink, StopStream

if TYPE_CHECKING:
    from ..tasks import Result

_ESCAPE = 27


class DisplaySink(Sink):
    """Shows annotated frames as they come; `q`, Escape or closing the window raise `StopStream`.

    Open, write and close it in the main thread: the window systems ask for that.

    Args:
        title: title of the window.

    Raises:
        SinkError: OpenCV has no windows, or there is no screen.
    """

    needs_image = True
    may_block = False
    main_thread = True

    def __init__(self, title: str = "SparseViT Edge"):
        self.name = "display://"
        self._title = title
        self._open = False
        instead = "write an .mp4 or a folder instead"
        if re.search(r"^\s*GUI:\s*NONE", cv2.getBuildInformation(), re.MULTILINE):
            raise SinkError(
                f"this OpenCV ({cv2.__version__}) is headless and shows no windows; install opencv-python in place of "
                f"opencv-python-headless (on a Jetson: sudo apt install libopencv-python), or {instead}"
            )
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise SinkError(
                f"there is no screen: neither DISPLAY nor WAYLAND_DISPLAY is set. Over ssh use ssh -X, at the device "
                f"export DISPLAY=:0, or {instead}"
            )
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise SinkError(f"cannot open a window ({error.err}); check the screen, or {instead}") from error
        self._open = True
        self._sized = False

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        image = self._checked(image)
        try:
            if not self._sized:
                cv2.resizeWindow(self._title, image.shape[1], image.shape[0])
                self._sized = True
            cv2.imshow(self._title, image)
            key = cv2.waitKey(1) & 0xFF
            closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error as error:
            raise SinkError(f"cannot draw in the window ({error.err}); was the screen taken away?") from error
        if key in (ord("q"), _ESCAPE) or closed:
            raise StopStream("stopped at the window")

    def close(self) -> None:
        if self._open:
            self._open = False
            cv2.destroyWindow(self._title)

    def abort(self) -> None:
        self.close()
