"""Runs of an ONNX Runtime session whose inputs and outputs lie in the GPU's memory: what the host sends and fetches
goes through pinned memory, and frames that are on the GPU stay there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..contract import IMAGE, KEEP, GraphContract, TensorSpec
from ..cuda import CudaRuntime, Stream
from ..images.device_frames import DeviceFrame
from ..tensorrt.slot import Slot
from .base import Outputs
from .gpu_frames import FrameWriter

#: ONNX Runtime's name for the GPU's memory.
_CUDA = "cuda"


class DeviceRuns:
    """The buffers of a session's runs, one set for each caller at once.

    An output has its place beforehand where the graph says its sizes; ONNX Runtime finds one for the others.

    Threads: safe; a call has a set to itself. `close` must not overlap a call.
    """

    def __init__(
        self,
        session: Any,
        cuda: CudaRuntime,
        contract: GraphContract,
        outputs: Sequence[TensorSpec],
    ) -> None:
        """
        Args:
            session: session of ONNX Runtime.
            cuda: runtime with the GPU that it runs on.
            contract: contract of the graph.
            outputs: outputs as the graph has them.
        """
        self._session, self._cuda = session, cuda
        self._inputs = {spec.name: spec for spec in contract.inputs if spec.name != KEEP}
        self._outputs = {spec.name: spec for spec in outputs}
        self._lock = threading.Lock()
        self._idle: list[_Buffers] = []

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Outputs:
        """Runs the graph on arrays of the host.

        Args:
            feeds: contiguous arrays by input.
            outputs: names of what to bring back.

        Raises:
            BackendError: there is not enough memory. Whatever ONNX Runtime raises is passed on.
        """
        arrays = _without_keep(feeds)
        return self._run(len(feeds[IMAGE]), feeds.get(KEEP), outputs, lambda slot: slot.upload(arrays))

    def run_frames(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        write: FrameWriter,
        feeds: Mapping[str, np.ndarray],
        outputs: Sequence[str],
    ) -> Outputs:
        """The same on frames of any size, which are written to where the graph reads them.

        Args:
            frames: frames of a batch.
            write: queues what writes them there.
            feeds: inputs beside the image.
            outputs: names as in `run`.
        """
        arrays = _without_keep(feeds)
        return self._run(len(frames), feeds.get(KEEP), outputs, lambda slot: slot.receive(frames, write, arrays))

    def close(self) -> None:
        """Gives the buffers back."""
        with self._lock:
            idle, self._idle = self._idle, []
        for buffers in idle:
            buffers.close()

    def _run(
        self, batch: int, keep: np.ndarray | None, outputs: Sequence[str], bring: Callable[[Slot], None]
    ) -> Outputs:
        with self._buffers(batch) as slot:
            bring(slot)
            slot.uploaded.synchronize()  # ONNX Runtime computes on a stream of its own
            binding, gpu = self._session.io_binding(), self._cuda.device.index
            for name, address in slot.input_addresses().items():
                spec = self._inputs[name]
                binding.bind_input(name, _CUDA, gpu, spec.dtype, _shape(spec, batch), address)
            if keep is not None:
                binding.bind_cpu_input(KEEP, keep)  # slices' lengths, which the host needs
            places = slot.addresses()
            for name in outputs:
                if name in places:
                    spec = self._outputs[name]
                    binding.bind_output(name, _CUDA, gpu, spec.dtype, _shape(spec, batch), places[name])
                else:
                    binding.bind_output(name, _CUDA, gpu)
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            return self._fetch(slot, batch, outputs, binding.get_outputs())

    def _fetch(self, slot: Slot, batch: int, outputs: Sequence[str], values: Sequence[Any]) -> Outputs:
        known = {name: _shape(self._outputs[name], batch) for name in outputs if name in slot.addresses()}
        slot.copies.record(slot.computed)
        slot.download(list(known), known)
        slot.done.synchronize()
        return {
            name: slot.read(name, known[name]) if name in known else value.numpy()
            for name, value in zip(outputs, values, strict=True)
        }

    @contextmanager
    def _buffers(self, batch: int) -> Iterator[Slot]:
        """Buffers for one call; they go back even when it failed, once what it queued is done."""
        with self._lock:
            buffers = self._idle.pop() if self._idle else None
        if buffers is not None and buffers.batch < batch:
            buffers.close()
            buffers = None  # the old memory is free before the new is asked for
        buffers = buffers or _Buffers(self._cuda, batch, self._inputs, self._outputs)
        try:
            yield buffers.slot
        except BaseException:
            buffers.close()
            raise
        with self._lock:
            self._idle.append(buffers)


class _Buffers:
    """Of batches up to a size.

    Attributes:
        batch: size of the largest batch.
        slot: slot with the memory.
    """

    def __init__(
        self,
        cuda: CudaRuntime,
        batch: int,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
    ) -> None:
        self.batch = batch
        self._stream = Stream(cuda)
        self.slot = Slot(
            0,
            cuda,
            self._stream,
            {name: (spec, _shape(spec, batch)) for name, spec in inputs.items()},
            {name: (spec, _shape(spec, batch)) for name, spec in outputs.items() if _is_known(spec)},
        )

    def close(self) -> None:
        self.slot.copies.synchronize()
        self.slot.close()
        self._stream.close()


def _is_known(spec: TensorSpec) -> bool:
    """Whether all sizes but the batch are numbers."""
    return bool(spec.shape) and all(isinstance(size, int) for size in spec.shape[1:])


def _shape(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    return (batch, *(int(size) for size in spec.shape[1:]))


def _without_keep(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in feeds.items() if name != KEEP}
