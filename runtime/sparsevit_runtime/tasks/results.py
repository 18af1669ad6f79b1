"""What a model says about a frame, in the frame's own pixels: what the results of all tasks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SinkError

if TYPE_CHECKING:
    from ..windows.activity import WindowActivity

#: Version of the dictionaries `to_dict` returns.
RESULT_SCHEMA = 1
#: Name and RGB colour of each entry.
Legend = Sequence[tuple[str, tuple[int, int, int]]]


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall time of a frame's way through the model, in milliseconds.

    In a stream the four stages of successive frames overlap, so frames come faster than `total_ms` says.

    Attributes:
        capture_ms: reading the frame from its source; 0 when the caller brought the frame.
        preprocess_ms: letterboxing.
        inference_ms: the backend's run.
        postprocess_ms: coordinates and maps back to the frame.
    """

    capture_ms: float = 0.0
    preprocess_ms: float = 0.0
    inference_ms: float = 0.0
    postprocess_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        return self.capture_ms + self.preprocess_ms + self.inference_ms + self.postprocess_ms

    def to_dict(self) -> dict[str, float]:
        names = ("capture_ms", "preprocess_ms", "inference_ms", "postprocess_ms", "total_ms")
        return {name: round(getattr(self, name), 3) for name in names}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Result(ABC):
    """Base of the results.

    Attributes:
        image_wh: width and height of the frame in pixels.
        frame_index: position in the stream; gaps are frames a live source dropped, or files that do not decode.
        timestamp_ns: wall clock at capture for live sources, position in the media for files.
        timings: per stage.
        keep: windows computed per block pair, all stages in one; None when a fixed plan has pairs of two counts.
        window_share: windows computed among all windows of all blocks, 0 to 1.
        activity: windows that those were, when asked for.
        dropped: frames the stream has dropped so far.
        fps: frames per second that the stream answers of late; None for a frame alone, and the first of a stream.
        source: name of the source; empty where the caller brought the frame.
        file: path of the still image that the frame was read from; empty for all others.
        image: the frame itself, (H, W, 3) uint8 BGR, not copied; neither saved nor part of `to_dict`.
    """

    image_wh: tuple[int, int]
    frame_index: int = 0
    timestamp_ns: int = 0
    timings: Timings = field(default_factory=Timings)
    keep: tuple[int, ...] | None = None
    window_share: float = 1.0
    activity: WindowActivity | None = None
    dropped: int = 0
    fps: float | None = None
    source: str = ""
    file: str = ""
    image: np.ndarray | None = field(default=None, repr=False)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; key `schema` is the version of the layout."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Writes the answer whole or not at all.

        Raises:
            SinkError: the suffix is not one this result can be saved as, or the file cannot be written.
        """

    def draw_answer(self, image: np.ndarray) -> np.ndarray:
        """The answer over a picture, without legend and figures.

        Args:
            image: (H, W, 3) uint8 BGR of the frame's size; left alone.

        Returns:
            A new image.
        """
        return np.array(image)

    def legend(self) -> Legend:
        """Names and RGB colours of what `draw_answer` shows, where colours need words."""
        return ()

    def _head(self, task: str) -> dict[str, Any]:
        return {
            "schema": RESULT_SCHEMA,
            "task": task,
            "source": self.source,
            "file": self.file,
            "frame": self.frame_index,
            "timestamp_ns": self.timestamp_ns,
            "image_wh": list(self.image_wh),
            "timings": self.timings.to_dict(),
            "keep": None if self.keep is None else list(self.keep),
            "window_share": round(self.window_share, 4),
            "dropped": self.dropped,
        }


def expect(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: type) -> None:
    """Raises ValueError unless an array has a shape and type."""
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {shape} {np.dtype(dtype)}, got {array.shape} {array.dtype}")


def expect_suffix(path: str | Path, suffix: str, what: str) -> None:
    """Raises SinkError unless a file has a suffix."""
    if Path(path).suffix.lower() != suffix:
        raise SinkError(f"{what} can be saved as {suffix}, not as {Path(path).name!r}; name a {suffix} file")


def category_of(class_id: int, category_ids: Sequence[int] | None) -> int:
    """COCO category of a class: class + 1 unless a table says otherwise."""
    return class_id + 1 if category_ids is None else int(category_ids[class_id])
