"""What every way of scaling a frame into the model's input has in common: answers back into the frame's own pixels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from ..errors import FrameError

#: Grey of the borders unless the card says otherwise.
PAD_VALUE = 114


@dataclass(frozen=True, slots=True)
class LabelGrid:
    """Where the labels that a model gave lie on the frame, each over a square of its pixels.

    Attributes:
        cell_wh: width and height of a square in frame pixels.
        origin_xy: upper left corner of the first square that touches the frame, in frame pixels; 0 or less.
    """

    cell_wh: tuple[float, float]
    origin_xy: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Placement(ABC):
    """How a frame is scaled into the input: base of `Letterbox` and `Stretch`.

    The scaled size is rounded to whole pixels, so the two axes can differ by a fraction of a pixel in scale; every
    mapping uses the exact scale of its axis, and nothing drifts on the way back.

    Attributes:
        frame_wh: width and height of the frame in pixels.
        input_hw: height and width of the model's input in pixels.
        size_wh: width and height of the scaled frame inside the input.
        left, top: its first column and row.
    """

    frame_wh: tuple[int, int]
    input_hw: tuple[int, int]
    size_wh: tuple[int, int] = field(init=False)
    left: int = field(init=False)
    top: int = field(init=False)

    def __post_init__(self) -> None:
        for name in ("frame_wh", "input_hw"):
            size = getattr(self, name)
            whole = isinstance(size, (tuple, list)) and all(isinstance(side, (int, np.integer)) for side in size)
            if not whole or len(size) != 2:
                raise FrameError(f"{name} is two whole numbers of pixels, got {size!r}")
        (frame_w, frame_h), (input_h, input_w) = self.frame_wh, self.input_hw
        if min(frame_w, frame_h, input_h, input_w) < 1:
            raise FrameError(
                f"cannot fit a frame of {frame_w}x{frame_h} into an input of {input_w}x{input_h}; sides need 1 pixel"
            )
        width, height = self._fit()
        object.__setattr__(self, "size_wh", (width, height))
        object.__setattr__(self, "left", (input_w - width) // 2)
        object.__setattr__(self, "top", (input_h - height) // 2)

    @abstractmethod
    def _fit(self) -> tuple[int, int]:
        """Width and height of the scaled frame inside the input."""

    @abstractmethod
    def _scale(self, image: np.ndarray, target: np.ndarray) -> None:
        """Resizes `image` into `target`, a view of the input buffer."""

    @property
    def scale_wh(self) -> tuple[float, float]:
        """Input pixels per frame pixel, along each axis."""
        return self.size_wh[0] / self.frame_wh[0], self.size_wh[1] / self.frame_wh[1]

    def apply(self, frame: np.ndarray, out: np.ndarray | None = None, pad_value: int = PAD_VALUE) -> np.ndarray:
        """Writes the scaled frame and its borders.

        Args:
            frame: (H, W, 3) uint8 of `frame_wh`.
            out: (h, w, 3) uint8 of `input_hw`, written in place; a new array when None.
            pad_value: grey level of the borders.

        Returns:
            `out`.

        Raises:
            FrameError: `frame` or `out` has another shape or type.
        """
        frame_w, frame_h = self.frame_wh
        _expect("frame", frame, (frame_h, frame_w, 3))
        if out is None:
            out = np.empty((*self.input_hw, 3), np.uint8)
        _expect("out", out, (*self.input_hw, 3))
        width, height = self.size_wh
        right, bottom = self.left + width, self.top + height
        out[: self.top] = pad_value
        out[bottom:] = pad_value
        out[self.top : bottom, : self.left] = pad_value
        out[self.top : bottom, right:] = pad_value
        self._scale(frame, out[self.top : bottom, self.left : right])
        return out

    def boxes_to_frame(self, xyxy: np.ndarray, *, clip: bool = True) -> np.ndarray:
        """Maps boxes from input pixels to frame pixels.

        Args:
            xyxy: (N, 4) float, corners in input pixels.
            clip: cut them at the frame's edges.

        Returns:
            (N, 4) float32.
        """
        (scale_x, scale_y), (frame_w, frame_h) = self.scale_wh, self.frame_wh
        boxes = np.asarray(xyxy, np.float64).reshape(-1, 4) - (self.left, self.top) * 2
        boxes /= (scale_x, scale_y) * 2
        if clip:
            boxes = boxes.clip(0, (frame_w, frame_h) * 2)
        return boxes.astype(np.float32)

    def boxes_to_input(self, xyxy: np.ndarray) -> np.ndarray:
        """Maps boxes from frame pixels to input pixels, (N, 4) float32."""
        return (np.asarray(xyxy, np.float64).reshape(-1, 4) * (self.scale_wh * 2) + (self.left, self.top) * 2).astype(
            np.float32
        )

    def map_to_frame(self, label_map: np.ndarray) -> np.ndarray:
        """Maps labels over the input to the frame.

        Each frame pixel takes the label its centre falls in; along the borders, the nearest one whose own centre is on
        the frame, because a label centred in the border describes the border.

        Args:
            label_map: (h, w) of any dtype, one label per square of whole input pixels; the last row and column may
                reach beyond the input.

        Returns:
            (H, W), same dtype.
        """
        rows, columns = label_map.shape
        (frame_w, frame_h), (width, height) = self.frame_wh, self.size_wh
        x = _cells(frame_w, self.left, width, -(-self.input_hw[1] // columns), inside=True)
        y = _cells(frame_h, self.top, height, -(-self.input_hw[0] // rows), inside=True)
        return label_map.take(x, axis=1).take(y, axis=0)  # columns first: that array is still small

    def label_grid(self, rows: int, columns: int) -> LabelGrid:
        """Where the squares of `map_to_frame` lie on the frame."""
        (scale_x, scale_y), (input_h, input_w) = self.scale_wh, self.input_hw
        across, down = -(-input_w // columns), -(-input_h // rows)  # input pixels
        origin = -(self.left % across) / scale_x, -(self.top % down) / scale_y
        return LabelGrid((across / scale_x, down / scale_y), origin)

    def cells_to_frame(self, cells: np.ndarray, cell_size: int) -> np.ndarray:
        """Maps a grid of square cells from the input's upper left corner to the frame: each frame pixel takes the cell
        its centre falls in.

        Args:
            cells: (h, w) of any dtype; the last row and column may reach beyond the input.
            cell_size: input pixels along a side of a cell.

        Returns:
            (H, W), same dtype.
        """
        (frame_w, frame_h), (width, height) = self.frame_wh, self.size_wh
        x = _cells(frame_w, self.left, width, cell_size)
        y = _cells(frame_h, self.top, height, cell_size)
        return cells.take(x, axis=1).take(y, axis=0)


def _cells(length: int, start: int, size: int, cell: float, inside: bool = False) -> np.ndarray:
    """Along one axis, the cell of each frame pixel, (length,) intp.

    Args:
        length: length of the frame in its own pixels.
        start, size: those of the scaled frame in the input.
        cell: input pixels per cell.
        inside: takes only cells centred on the frame, where there are any.
    """
    index = (((np.arange(length) + 0.5) * (size / length) + start) / cell).astype(np.intp)
    first, last = math.ceil(start / cell - 0.5), math.ceil((start + size) / cell - 0.5) - 1
    return index.clip(first, last) if inside and first <= last else index


def _expect(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.uint8:
        raise FrameError(f"{name} must be {shape} uint8, got {array.shape} {array.dtype}")
