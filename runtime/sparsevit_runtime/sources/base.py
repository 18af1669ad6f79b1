"""What a source is: frames in order, each with its index, its time and, for rendered ones, the truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from ..images.frames import FrameLike

if TYPE_CHECKING:
    from typing_extensions import Self

    from sparsevit_street import Truth


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    Attributes:
        image: (H, W, 3) uint8 BGR, of the host or on the GPU.
        index: position in the stream, from 0; frames a live source dropped, and those that do not decode, leave gaps.
        timestamp_ns: time of the frame in nanoseconds on its source's clock: between two frames of a source lies the
            difference of theirs. The clock of a live source is the system's, from 1970 in UTC; that of a file begins
            with the file. `live` says which it is.
        inputs: arrays by name that a model takes with each frame beside its pixels; None from sources that have
            nothing.
        truth: labels and boxes of a rendered frame; None from any other source.
        file: path of the still image it was read from; empty from any other source.
        media_ns: position in the media in nanoseconds, as the decoder tells it; None where it tells none. Of a live
            source it says when the frame was taken on the camera's clock, beside `timestamp_ns`, when it came.
    """

    image: FrameLike
    index: int
    timestamp_ns: int
    inputs: Mapping[str, np.ndarray] | None = None
    truth: Truth | None = None
    file: str = ""
    media_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a driver may take.

    Attributes:
        open_s: longest wait for a connection, seconds.
        read_s: longest wait for a frame, seconds.
    """

    open_s: float = 8.0
    read_s: float = 5.0

    @property
    def open_ms(self) -> int:
        return max(1, round(self.open_s * 1e3))

    @property
    def read_ms(self) -> int:
        return max(1, round(self.read_s * 1e3))


class Source(ABC):
    """A stream of frames. One thread reads it; `close` may be called from another and is safe to repeat.

    Attributes:
        name: name of what is read, for messages and titles.
        live: True when frames arrive at their own pace, so that a slow reader has to drop some.
        size_wh: width and height of the frames in pixels; None when they differ or are not known before reading.
        fps: nominal frames per second, or their mean where they come unevenly; None when unknown.
        frame_count: frames in total, as far as the container tells; None for endless or unknown.
        damaged: frames so far that did not decode, or that a file announces and does not hold. They are never given
            out; their indices are left out, and reading goes on behind them.
        wants: asked by some live sources of a frame that has come, before they decode it; one that is not wanted is
            left out with its index. None: all are. Set before reading.
    """

    name: str
    live: bool = False
    size_wh: tuple[int, int] | None = None
    fps: float | None = None
    frame_count: int | None = None
    damaged: int = 0
    wants: Callable[[], bool] | None = None

    @abstractmethod
    def read(self) -> Frame | None:
        """The next frame, or None at the end of the stream.

        Raises:
            SourceError: the stream broke and cannot go on.
        """

    @abstractmethod
    def close(self) -> None:
        """Gives back the device or file."""

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
