"""Annotated frames as image files in a folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SinkError
from ..files import write_atomic
from .base import Sink
from .paths import check_folder

if TYPE_CHECKING:
    from ..tasks import Result

_log = logging.getLogger(__name__)

#: Encoder settings of each format. OpenCV's own default for PNG is its fastest: any explicit level turns filters on.
IMAGE_FORMATS: dict[str, tuple[int, ...]] = {"jpg": (cv2.IMWRITE_JPEG_QUALITY, 90), "png": ()}


class FolderSink(Sink):
    """Writes ``frame_000000.jpg`` and so on, numbered by the frame's index; each file appears whole.

    Frames of the same number from an earlier run are replaced, with a warning when the sink is opened. `abort` leaves
    the frames that are complete.

    Args:
        folder: place of the pictures, made when missing; its parent must exist.
        image_format: "jpg" or "png".

    Raises:
        SinkError: the folder cannot be made or written, or the format is unknown.
    """

    needs_image = True

    def __init__(self, folder: Path, image_format: str = "jpg"):
        self.name = str(folder)
        if image_format not in IMAGE_FORMATS:
            raise SinkError(f"{self.name}: unknown image format {image_format!r}; accepted: {', '.join(IMAGE_FORMATS)}")
        self._folder = folder
        self._format = image_format
        if not folder.exists():
            check_folder(folder.parent)
            folder.mkdir(exist_ok=True)
        check_folder(folder)
        old = sum(1 for _ in folder.glob(f"frame_[0-9]*.{image_format}"))
        if old:
            _log.warning("%s holds %d frames of an earlier run; those of the same number are replaced", folder, old)

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        image = self._checked(image)
        done, data = cv2.imencode(f".{self._format}", image, list(IMAGE_FORMATS[self._format]))
        if not done:
            raise SinkError(f"OpenCV cannot encode frame {result.frame_index} as {self._format} for {self.name}")
        write_atomic(self._folder / f"frame_{result.frame_index:06d}.{self._format}", data.tobytes())

    def close(self) -> None:
        """Nothing is left open."""

    def abort(self) -> None:
        """Nothing is half-written."""
