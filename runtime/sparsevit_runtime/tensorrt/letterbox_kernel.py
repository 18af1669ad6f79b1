"""Scaling frames on the GPU, bit-equal to `Letterbox` and `Stretch`: the kernel of plugins/kernels/letterbox."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Literal

from ..cuda import DeviceView
from ..errors import BackendError, BuildError
from ..images.device_frames import DeviceFrame
from ..images.placement import Placement
from .plugin_library import find_plugins_to_run

#: What has been done to a frame, by the card's word.
_DONE = {"letterbox": "letterboxed", "stretch": "stretched"}


class LetterboxCall(ctypes.Structure):
    """SparsevitLetterbox."""

    _fields_ = (
        ("frame", ctypes.c_void_p),
        ("frame_pitch", ctypes.c_int64),
        ("input", ctypes.c_void_p),
        ("sample", ctypes.c_int64),
        *((f"frame_{name}", ctypes.c_int32) for name in ("width", "height")),
        *((f"input_{name}", ctypes.c_int32) for name in ("width", "height")),
        *((name, ctypes.c_int32) for name in ("left", "top", "width", "height", "pad_value")),
    )


def letterbox_call(
    frame: DeviceFrame, letterbox: Placement, image: DeviceView, sample: int, pad_value: int
) -> LetterboxCall:
    """What the kernel is told to write a frame into one sample of a batch (B, h, w, 3) uint8."""
    return LetterboxCall(
        frame=frame.address,
        frame_pitch=frame.pitch,
        input=image.address,
        sample=sample,
        frame_width=letterbox.frame_wh[0],
        frame_height=letterbox.frame_wh[1],
        input_width=letterbox.input_hw[1],
        input_height=letterbox.input_hw[0],
        left=letterbox.left,
        top=letterbox.top,
        width=letterbox.size_wh[0],
        height=letterbox.size_wh[1],
        pad_value=pad_value,
    )


class LetterboxKernel:
    """The library's function. Threads: safe."""

    def __init__(self, path: Path | None = None, resize: Literal["letterbox", "stretch"] = "letterbox") -> None:
        """
        Args:
            path: path of the library; None for where `find_plugins_to_run` looks.
            resize: way that frames are scaled, as the card says.

        Raises:
            BackendError: there is no library, or it is an older one without the kernel.
        """
        try:
            path = path or find_plugins_to_run().path
            self._function = getattr(ctypes.CDLL(str(path)), f"sparsevit_{resize}")
        except BuildError as error:
            raise BackendError(
                f"frames on the GPU are {_DONE[resize]} by a kernel of the plugin library: {error}"
            ) from error
        except (OSError, AttributeError) as error:
            raise BackendError(f"cannot {resize} on the GPU with {path} ({error}); build the plugins again") from error
        self._function.argtypes = (ctypes.POINTER(LetterboxCall), ctypes.c_void_p)
        self._function.restype = ctypes.c_int32

    def queue(self, call: LetterboxCall, stream: int) -> None:
        """Queues it.

        Raises:
            BackendError: the launch failed.
        """
        error = self._function(ctypes.byref(call), stream)
        if error:
            raise BackendError(f"the letterbox kernel does not start: CUDA error {error}")
