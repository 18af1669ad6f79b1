"""The buffers of one frame, or batch of frames, on its way through an engine, or a session on CUDA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ..contract import IMAGE
from ..cuda import CudaRuntime, DeviceBuffer, DeviceView, Event, PinnedBuffer, Stream
from ..images.device_frames import DeviceFrame


class Typed(Protocol):
    """What says the type of a tensor's elements."""

    @property
    def dtype(self) -> np.dtype: ...


class _Place:
    """Memory of one tensor, or of some frames: the host's side pinned, the GPU's its own, or the same where they
    share memory."""

    def __init__(self, cuda: CudaRuntime, nbytes: int) -> None:
        self.host = PinnedBuffer(cuda, nbytes)
        self._own = None if cuda.device.integrated else DeviceBuffer(cuda, nbytes)
        self.device: DeviceView = self.host.view if self._own is None else self._own.view

    def close(self) -> None:
        self.host.close()
        if self._own is not None:
            self._own.close()


class Slot:
    """Input and output buffers for the largest batch, and the stream of their copies.

    On an integrated GPU the engine works in the host's pinned memory: nothing is copied, and `copies` is the
    engine's own stream.

    Attributes:
        index: place among the context's slots.
        busy: True between submit and collect.
        copies: stream of the copies.
        begun, uploaded, computed, done: events of the run.
        ordered: event for waiting for the streams of others.
    """

    def __init__(
        self,
        index: int,
        cuda: CudaRuntime,
        compute: Stream,
        inputs: Mapping[str, tuple[Typed, tuple[int, ...]]],
        outputs: Mapping[str, tuple[Typed, tuple[int, ...]]],
    ) -> None:
        """
        Args:
            compute: stream of the engine.
            inputs, outputs: tensors with their largest shapes, by name; `keep` lies elsewhere.
        """
        self.index = index
        self.busy = False
        shared = cuda.device.integrated
        self.copies = compute if shared else Stream(cuda)
        self.begun, self.uploaded, self.computed, self.done, self.ordered = (Event(cuda) for _ in range(5))
        self._cuda = cuda
        self._shared = shared
        self._inputs = {name: _Place(cuda, _largest(*described)) for name, described in inputs.items()}
        self._frames: _Place | None = None  # frames as they come, once some were sent whole
        self._outputs = {name: _Place(cuda, _largest(*described)) for name, described in outputs.items()}
        self._types = {name: tensor.dtype for name, (tensor, _) in outputs.items()}

    @property
    def image(self) -> DeviceView:
        """Where the engine reads the frames."""
        return self._inputs[IMAGE].device

    def input_addresses(self) -> dict[str, int]:
        """Where the engine reads, by input."""
        return {name: place.device.address for name, place in self._inputs.items()}

    def addresses(self) -> dict[str, int]:
        """Where the engine writes, by output."""
        return {name: place.device.address for name, place in self._outputs.items()}

    def upload(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Brings inputs to where the engine reads them; the copies to the GPU are queued."""
        self._fill(arrays)
        self.copies.record(self.begun)
        self._queue_copies(arrays)
        self.copies.record(self.uploaded)

    def receive(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        write: Callable[[Sequence[DeviceFrame], DeviceView, Stream], None],
        arrays: Mapping[str, np.ndarray],
    ) -> None:
        """Has frames of any size written to where the engine reads them.

        Args:
            frames: those of the host, (H, W, 3) uint8, are sent whole; they are free again when this returns.
                Nothing is allocated for them unless they are larger than all before.
            write: queues on the stream it is given what reads the frames and writes the view it is given.
            arrays: inputs beside the image.
        """
        self._fill(arrays)
        placed, nbytes = self._stage(frames)
        if any(frame.on_any_stream for frame in placed):
            self._cuda.synchronize()
        for stream in dict.fromkeys(frame.stream for frame in placed if frame.stream is not None):
            self.copies.wait_for(stream, self.ordered)
        self.copies.record(self.begun)
        if nbytes and self._frames is not None and not self._shared:
            self.copies.upload(self._frames.host, self._frames.device, nbytes)
        self._queue_copies(arrays)
        write(placed, self.image, self.copies)
        self.copies.record(self.uploaded)

    def _fill(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            np.copyto(self._inputs[name].host.host[: array.nbytes], array.reshape(-1).view(np.uint8))

    def _queue_copies(self, arrays: Mapping[str, np.ndarray]) -> None:
        if self._shared:
            return
        for name, array in arrays.items():
            place = self._inputs[name]
            self.copies.upload(place.host, place.device, array.nbytes)

    def _stage(self, frames: Sequence[DeviceFrame | np.ndarray]) -> tuple[list[DeviceFrame], int]:
        """Copies the host's frames to pinned memory.

        Returns:
            Where the GPU finds all of them, and the bytes that are to be copied there.
        """
        starts, end = [], 0
        for frame in frames:
            starts.append(end)
            if not isinstance(frame, DeviceFrame):
                end += frame.nbytes
        place = self._room_for(end) if end else None
        placed: list[DeviceFrame] = []
        for start, frame in zip(starts, frames):
            if isinstance(frame, DeviceFrame):
                placed.append(frame)
            elif place is not None:
                height, width, channels = frame.shape
                np.copyto(place.host.host[start : start + frame.nbytes].reshape(frame.shape), frame)
                address = place.device.part(start, frame.nbytes).address
                placed.append(DeviceFrame(address, width * channels, (width, height), None, self))
        return placed, end

    def _room_for(self, nbytes: int) -> _Place:
        if self._frames is None or nbytes > self._frames.device.nbytes:
            if self._frames is not None:
                self._frames.close()
                self._frames = None  # the old memory is free before the new is asked for
            self._frames = _Place(self._cuda, nbytes)
        return self._frames

    def download(self, outputs: Sequence[str], shapes: dict[str, tuple[int, ...]]) -> None:
        """Queues the copies of some outputs, behind `computed`."""
        if self._outputs and not self._shared:
            self.copies.wait(self.computed)
            for name in outputs:
                place = self._outputs[name]
                self.copies.download(place.device, place.host, self._nbytes(name, shapes[name]))
        self.copies.record(self.done)

    def read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A copy of an output, after `done`."""
        place = self._outputs[name]
        values: np.ndarray = place.host.host[: self._nbytes(name, shape)].view(self._types[name])
        return np.array(values.reshape(shape))

    def close(self) -> None:
        """Gives everything back. The streams are idle."""
        for place in (*self._inputs.values(), *self._outputs.values()):
            place.close()
        for event in (self.begun, self.uploaded, self.computed, self.done, self.ordered):
            event.close()
        if self._frames is not None:
            self._frames.close()
        if not self._shared:
            self.copies.close()

    def _nbytes(self, name: str, shape: tuple[int, ...]) -> int:
        return int(np.prod(shape)) * self._types[name].itemsize


def _largest(tensor: Typed, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor of its largest shape."""
    return int(np.prod(shape)) * tensor.dtype.itemsize
