"""What a source is: frames in order, each with its index, its time and, for rendered ones, the truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
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
        index: position in the stream, from 0; frames a live source dropped, and files that do not decode, leave gaps.
        timestamp_ns: time of the frame in nanoseconds on its source's clock: between two frames of a source lies the
            difference of theirs. The clock of a live source is the system's, from 1970 in UTC; that of a file begins
            with the file. `live` says which it is.
        inputs: arrays by name that a model takes with each frame beside its pixels; None from sources that have
            nothing.
        truth: labels and boxes of a rendered frame; None from any other source.
        file: path of the still image it was read from; empty from any other source.
    """

    image: FrameLike
    index: int
    timestamp_ns: int
    inputs: Mapping[str, np.ndarray] | None = None
    truth: Truth | None = None
    file: str = ""


class Source(ABC):
    """A stream of frames. One thread reads it; `close` may be called from another and is safe to repeat.

    Attributes:
        name: name of what is read, for messages and titles.
        live: True when frames arrive at their own pace, so that a slow reader has to drop some.
        size_wh: width and height of the frames in pixels; None when they differ or are not known before reading.
        fps: nominal frames per second; None when unknown.
        frame_count: frames in total, as far as the container tells; None for endless or unknown.
    """

    name: str
    live: bool = False
    size_wh: tuple[int, int] | None = None
    fps: float | None = None
    frame_count: int | None = None

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
