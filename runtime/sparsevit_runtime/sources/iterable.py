"""Frames the caller already has, as a source."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized

from ..images.frames import FrameLike
from .base import Frame, Source


class IterableSource(Source):
    """The items of an iterable, in order.

    Args:
        frames: images as in `Frame.image`, or whole frames, which keep their index, time and inputs. An image has to
            stay as it is until its result has come.
    """

    name = "frames"

    def __init__(self, frames: Iterable[FrameLike | Frame]) -> None:
        self._frames: Iterator[FrameLike | Frame] = iter(frames)
        self._index = 0
        self.frame_count = len(frames) if isinstance(frames, Sized) else None

    def read(self) -> Frame | None:
        try:
            item = next(self._frames)
        except StopIteration:
            return None
        frame = item if isinstance(item, Frame) else Frame(item, self._index, time.time_ns())
        self._index += 1
        return frame

    def close(self) -> None:
        self._frames = iter(())
