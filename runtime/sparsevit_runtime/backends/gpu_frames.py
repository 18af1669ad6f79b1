"""Frames that are letterboxed on the GPU: the checks, and what queues the kernel, whichever backend runs the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ..card import InputCard
from ..cuda import CudaRuntime, DeviceView, Stream
from ..errors import FrameError
from ..images.device_frames import DeviceFrame
from ..images.placement import Placement
from ..tensorrt.letterbox_kernel import LetterboxCall, letterbox_call

#: Queues on the stream it is given what reads the frames and writes the model's input.
FrameWriter = Callable[[Sequence[DeviceFrame], DeviceView, Stream], None]


class Letterboxing(Protocol):
    """The kernel."""

    def queue(self, call: LetterboxCall, stream: int) -> None: ...


def check_gpu_frames(
    frames: Sequence[DeviceFrame | np.ndarray], cuda: CudaRuntime, taken: InputCard, file: str
) -> None:
    """Checks that a model takes such frames, and that its GPU reaches them.

    Args:
        frames: frames of a run.
        cuda: runtime with the GPU in use.
        taken: input that the model takes.
        file: name of its file, for messages.

    Raises:
        FrameError: it takes normalised images, or a frame is elsewhere.
    """
    if taken.layout != "camera":
        raise FrameError(f"{file} takes normalised images; frames on the GPU need an export of camera layout")
    for frame in frames:
        if isinstance(frame, DeviceFrame):
            _check_place(frame, cuda)


def letterbox_writer(kernel: Letterboxing, letterboxes: Sequence[Placement], pad_value: int) -> FrameWriter:
    """What writes frames into the samples of a batch.

    Args:
        kernel: kernel that letterboxes.
        letterboxes: placement of each frame.
        pad_value: value of the pixels around them.
    """

    def write(placed: Sequence[DeviceFrame], image: DeviceView, stream: Stream) -> None:
        for sample, (frame, letterbox) in enumerate(zip(placed, letterboxes)):
            kernel.queue(letterbox_call(frame, letterbox, image, sample, pad_value), stream.address)

    return write


def _check_place(frame: DeviceFrame, cuda: CudaRuntime) -> None:
    index, here = cuda.device_of(frame.address), cuda.device
    if index is None:
        raise FrameError(
            f"the frame at {frame.address:#x} is in no memory that GPU {here.index} ({here.name}) reaches; copy it "
            "to that GPU, or pass a numpy array"
        )
    if index != here.index:
        raise FrameError(
            f"the frame is on GPU {index}, the engine runs on GPU {here.index} ({here.name}); copy it there first "
            f"(PyTorch: frame.to('cuda:{here.index}')), or choose the engine's GPU with CUDA_VISIBLE_DEVICES"
        )
