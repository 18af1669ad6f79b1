"""What a model says about a frame, in the frame's own pixels: what the results of all tasks have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import as_path
from ..errors import ArgumentError, FrameError, SinkError
from ..files import write_atomic
from ..windows.level import say_pruned
from .masks import encode_mask

if TYPE_CHECKING:
    from ..windows.activity import WindowActivity

#: Version of the dictionaries `to_dict` returns.
RESULT_SCHEMA = 1
#: Name and RGB colour of each entry.
Legend = Sequence[tuple[str, tuple[int, int, int]]]
#: COCO category of each class: a list in the order of the classes, or a mapping.
CategoryIds = Sequence[int] | Mapping[int, int]


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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class Result(ABC):
    """Base of the results.

    `print` tells one in a line; a notebook shows its picture. Results can be pickled and copied.

    Attributes:
        image_wh: width and height of the frame in pixels.
        frame_index: position in the stream; gaps are frames a live source dropped, or files that do not decode.
        timestamp_ns: time of the frame in nanoseconds on its source's clock, see `sources.base.Frame`; 0 where the
            caller brought the frame.
        timings: times per stage.
        keep: windows computed per block pair, all stages in one; None when a fixed plan has pairs of two counts.
        window_share: windows computed among all windows of all blocks, 0 to 1.
        level_reason: reason for so many windows, where a governor chose; empty where the caller did.
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
    level_reason: str = ""
    activity: WindowActivity | None = None
    dropped: int = 0
    fps: float | None = None
    source: str = ""
    file: str = ""
    image: np.ndarray | None = field(default=None, repr=False)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; key `schema` is the version of the layout."""

    def masks(self, form: str = "rle") -> list[dict[str, Any]]:
        """Masks of the answer, ready for JSON beside `to_dict`; none for a task that has no masks.

        Args:
            form: form they are written in, as COCO does: ``rle``, run lengths packed into text as pycocotools does;
                ``counts``, the same as a list of numbers; ``polygons``, outlines, in which holes are filled.

        Returns:
            For each mask `class_id`, `name`, `area` in pixels, `bbox` (x, y, width, height) and `segmentation`.

        Raises:
            ArgumentError: another form.
        """
        encode_mask(np.zeros((1, 1), bool), form)
        return []

    def columns(self) -> dict[str, Any]:
        """The answer as a row of a table: the cells of `Task.columns` by name, in plain lists, numbers and bytes."""
        return {}

    def save(self, path: str | Path) -> None:
        """Writes the answer whole or not at all, as the suffix says: .json is `to_dict`; others as each result says.

        Raises:
            SinkError: the suffix is not one this result can be saved as, or the file cannot be written.
            ArgumentError: no path.
        """
        path = as_path(path, "path")
        formats = self._formats()
        if path.suffix.lower() not in formats:
            raise SinkError(
                f"{self._what()} can be saved as {' or '.join(formats)}, not as {path.name!r}; name such a file"
            )
        write_atomic(path, formats[path.suffix.lower()]())

    def plot(self, image: np.ndarray | None = None, *, legend: bool = True, hud: bool = True) -> np.ndarray:
        """The annotated picture, (H, W, 3) uint8 BGR, new; see `draw_result`.

        Args:
            image: the frame; None for the one the result carries.
            legend, hud: see `draw_result`.

        Raises:
            FrameError: the result carries no frame (it was on the GPU), or `image` is not one of its size.
            MissingDependencyError: see `draw_result`.
        """
        from ..draw import draw_result

        if image is None and self.image is None:
            raise FrameError("the result carries no frame, which was on the GPU or taken out; pass plot(image)")
        return draw_result(self.image if image is None else image, self, legend=legend, hud=hud)

    def _repr_png_(self) -> bytes | None:
        """The picture of `plot` for a notebook; None when there is no frame to draw on."""
        if self.image is None:
            return None
        import cv2

        done, data = cv2.imencode(".png", self.plot())
        return data.tobytes() if done else None

    def __str__(self) -> str:
        width, height = self.image_wh
        place = f"frame {self.frame_index} of {self.source}" if self.source else "a frame"
        parts = [f"{type(self).__name__} of {place}, {width}x{height}", *self._told(), say_pruned(self.window_share)]
        if self.timings.inference_ms:
            parts.append(f"inference {self.timings.inference_ms:.1f} ms")
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"<{self}>"

    def _told(self) -> Sequence[str]:
        """What `print` says about the answer."""
        return ()

    def _what(self) -> str:
        """What `save` calls the answer."""
        return f"a {type(self).__name__}"

    def _formats(self) -> dict[str, Callable[[], bytes]]:
        """What the answer can be saved as: content by suffix."""
        return {".json": lambda: (json.dumps(self.to_dict(), allow_nan=False) + "\n").encode()}

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
        } | ({"level_reason": self.level_reason} if self.level_reason else {})


def expect(name: str, array: np.ndarray, shape: tuple[int | None, ...], dtype: type) -> None:
    """Raises ArgumentError unless an array has a shape and type; None is any size."""
    if not isinstance(array, np.ndarray):
        kind = type(array).__name__
        raise ArgumentError(f"{name} must be a numpy array {_said(shape)} {np.dtype(dtype)}, got {kind}")
    fits = len(shape) == array.ndim and all(wanted in (None, size) for wanted, size in zip(shape, array.shape))
    if not fits or array.dtype != dtype:
        raise ArgumentError(f"{name} must be {_said(shape)} {np.dtype(dtype)}, got {array.shape} {array.dtype}")


def expect_size(image_wh: object) -> None:
    """Raises ArgumentError unless it is a width and a height in pixels."""
    sides = image_wh if isinstance(image_wh, tuple) else ()
    if len(sides) != 2 or not all(isinstance(side, (int, np.integer)) and side >= 1 for side in sides):
        raise ArgumentError(f"image_wh is the frame's (width, height) in pixels, got {image_wh!r}")


def expect_result(result: object, kind: type[Any]) -> None:
    """Raises ArgumentError unless it is a result of that kind."""
    if not isinstance(result, kind):
        raise ArgumentError(f"expected the {kind.__name__} of a frame, got {type(result).__name__}")


def expect_names(names: object) -> None:
    """Raises ArgumentError unless it is a tuple of texts."""
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise ArgumentError(f"names is a tuple of texts, got {type(names).__name__}")


def _said(shape: tuple[int | None, ...]) -> str:
    return str(shape).replace("None", "N")


def image_id_of(result: Result, image_id: int | str | None) -> int | str:
    """COCO's id of a frame: its number in the stream unless another is given. Raises ArgumentError."""
    if image_id is None:
        return result.frame_index
    if isinstance(image_id, bool) or not isinstance(image_id, (int, np.integer, str)):
        raise ArgumentError(f"image_id is a number or text, got {type(image_id).__name__}; None is frame_index")
    return image_id if isinstance(image_id, str) else int(image_id)


def category_of(class_id: int, category_ids: CategoryIds | None) -> int:
    """COCO category of a class: class + 1 unless a table says otherwise.

    Raises:
        ArgumentError: the table has no number for the class.
    """
    if category_ids is None:
        return class_id + 1
    try:
        category: object = None if isinstance(category_ids, str) else category_ids[class_id]
    except (LookupError, TypeError):
        category = None
    if isinstance(category, bool) or not isinstance(category, (int, np.integer)):
        raise ArgumentError(
            f"category_ids has no number for class {class_id}; give one for every class, in a list or a mapping"
        )
    return int(category)
