"""Animated pictures that OpenCV's video reader does not know: WebP and PNG."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..dependencies import require
from ..errors import MissingDependencyError, SourceError
from .base import Frame, Source

#: Bytes in which a file says whether it is animated.
HEAD = 4096
#: Decoded bytes that are held at once where OpenCV reads the whole animation.
_MOST_BYTES = 2 * 2**30
#: Browsers show frames of less at this pace, and so files are made.
_SHORTEST_MS, _INSTEAD_MS = 11.0, 100.0


def is_animated(head: bytes) -> bool:
    """Whether a WebP or PNG has several frames, from its first bytes."""
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        return len(head) > 20 and bool(head[20] & 2)
    return head.startswith(b"\x89PNG") and b"acTL" in head.partition(b"IDAT")[0]


class AnimationSource(Source):
    """The frames of an animated picture, each at the time at which it is shown.

    Args:
        path: path of the file.

    Raises:
        MissingDependencyError: neither Pillow nor an OpenCV that reads animations is installed.
        SourceError: it does not decode, or has more frames than memory allows.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._frames: Iterator[tuple[np.ndarray, float]] = _open(path)
        self._pending = self._next()
        if self._pending is None:
            raise SourceError(f"cannot decode any frame of {self.name!r}; it is damaged. Convert it to a video")
        height, width = self._pending[0].shape[:2]
        self.size_wh = (width, height)
        self._index, self._time_ms = 0, 0.0

    def read(self) -> Frame | None:
        got, self._pending = self._pending or self._next(), None
        if got is None:
            return None
        image, shown_ms = got
        stamp = round(self._time_ms * 1e6)
        frame = Frame(image, self._index, stamp, media_ns=stamp)
        self._index += 1
        self._time_ms += shown_ms if shown_ms >= _SHORTEST_MS else _INSTEAD_MS
        return frame

    def close(self) -> None:
        self._pending, self._frames = None, iter(())

    def _next(self) -> tuple[np.ndarray, float] | None:
        try:
            return next(self._frames, None)
        except (OSError, EOFError, SyntaxError, ValueError) as error:  # as Pillow tells of damage
            raise SourceError(f"{self.name!r} is damaged ({error}); convert it to a video") from error


def _open(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a file, (H, W, 3) uint8 BGR, each with the milliseconds it is shown."""
    try:
        require("PIL")
    except MissingDependencyError as error:
        if hasattr(cv2, "imreadanimation"):
            return _with_opencv(path)
        raise MissingDependencyError(
            f"{str(path)!r} is animated; Pillow reads that (pip install pillow), and OpenCV from 4.11 on, but this is "
            f"{cv2.__version__}. Install one, or convert it to a video",
            name="PIL",
        ) from error
    return _with_pillow(path)


def _with_pillow(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    pillow: Any = importlib.import_module("PIL.Image")
    with pillow.open(path) as file:
        for i in range(getattr(file, "n_frames", 1)):
            file.seek(i)
            rgb = np.asarray(file.convert("RGB"))
            yield cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), float(file.info.get("duration", 0))


def _with_opencv(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    image = cv2.imread(str(path))
    if image is not None and image.nbytes * cv2.imcount(str(path)) > _MOST_BYTES:
        raise SourceError(f"{str(path)!r} is animated and large: install Pillow (pip install pillow), or convert it")
    done, animation = cv2.imreadanimation(str(path))
    for frame, shown_ms in zip(animation.frames, animation.durations) if done else ():
        yield (cv2.cvtColor(frame, cv2.COLOR_BGRA2BGR) if frame.shape[2] == 4 else frame), float(shown_ms)
