"""Frames that are already on the GPU, from any library that says so by `__cuda_array_interface__`.

https://nvidia.github.io/numba-cuda/user/cuda_array_interface.html; pycuda's GPUArray, CuPy and PyTorch have it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FrameError

#: CUDA's name for its default stream, where others say 0.
_DEFAULT_STREAM = 1


@dataclass(frozen=True)
class DeviceFrame:
    """A frame in memory that the GPU reaches.

    Attributes:
        address: address of the first pixel.
        pitch: bytes from a row to the next.
        wh: width and height in pixels.
        stream: CUDA stream on which the frame is being written; None when it is there already.
        owner: object that keeps the memory alive.
        on_any_stream: nobody says on which stream the frame is being written: all of them have to be waited for.
    """

    address: int
    pitch: int
    wh: tuple[int, int]
    stream: int | None
    owner: Any = field(repr=False)
    on_any_stream: bool = False


def is_device_frame(frame: object) -> bool:
    """Whether an object offers memory of a GPU. PyTorch tensors do when they are there."""
    return getattr(frame, "__cuda_array_interface__", None) is not None


def read_device_frame(frame: Any) -> DeviceFrame:
    """Reads the interface of (H, W, 3) uint8 BGR pixels; rows may lie apart, pixels of a row may not.

    Raises:
        FrameError: it is something else; the message says what and how to convert it.
    """
    interface = frame.__cuda_array_interface__
    try:
        shape = tuple(int(size) for size in interface["shape"])
        kind, (address, _), strides = str(interface["typestr"]), interface["data"], interface.get("strides")
        stream, on_any_stream = _stream(frame, interface)
    except (KeyError, TypeError, ValueError) as error:
        raise FrameError(f"__cuda_array_interface__ of {type(frame).__name__} is not complete ({error!r})") from error
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or kind not in ("|u1", "<u1", "u1"):
        raise FrameError(
            f"a frame on the GPU is (H, W, 3) uint8 BGR, got shape {shape} {kind}; convert it there, channels last"
        )
    height, width, channels = shape
    rows, columns, bytes_ = (width * channels, channels, 1) if strides is None else strides
    if height == 1:
        rows = width * channels  # of one row, the stride says nothing
    if width == 1:
        columns = channels
    if (columns, bytes_) != (3, 1) or rows < 3 * width:
        raise FrameError(
            f"the pixels of a frame on the GPU lie side by side, got strides {tuple(strides)} for shape {shape}; make "
            "it contiguous"
        )
    if interface.get("mask") is not None:
        raise FrameError("a frame on the GPU has no mask; apply it first")
    return DeviceFrame(int(address), int(rows), (width, height), stream, frame, on_any_stream)


def _stream(frame: Any, interface: Mapping[str, Any]) -> tuple[int | None, bool]:
    """`DeviceFrame.stream` and `on_any_stream`.

    Version 3 of the interface says the stream, or None for nothing to wait for; before, it says nothing. PyTorch, whose
    interface is of version 2, has a current stream to ask for.
    """
    if int(interface.get("version", 0)) >= 3:
        stream = interface.get("stream")
        if stream is not None and int(stream) == 0:
            raise ValueError("stream 0 is not allowed")
        return None if stream is None else int(stream), False
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is not None and isinstance(frame, torch.Tensor):
        return int(torch.cuda.current_stream(frame.device).cuda_stream) or _DEFAULT_STREAM, False
    return None, True
