"""Runs of an ONNX Runtime session whose inputs and outputs lie in the GPU's memory: what the host sends and fetches
goes through pinned memory, and frames that are on the GPU stay there."""

from __future__ import annotations

import logging
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
from .onnxruntime_graphs import Key, Recorder, Recording

_log = logging.getLogger(__name__)

#: ONNX Runtime's name for the GPU's memory.
_CUDA = "cuda"


class DeviceRuns:
    """The buffers of a session's runs, one set for each caller at once.

    An output has its place beforehand where the graph says its sizes; ONNX Runtime finds one for the others.

    Threads: safe; a call has a set to itself. `close` must not overlap a call.

    Attributes:
        session: session of ONNX Runtime that runs.
    """

    def __init__(
        self,
        session: Any,
        cuda: CudaRuntime,
        contract: GraphContract,
        outputs: Sequence[TensorSpec],
        errors: tuple[type[Exception], ...],
        recorder: Recorder | None,
        without_graphs: Callable[[], Any],
    ) -> None:
        """
        Args:
            session: session of ONNX Runtime.
            cuda: runtime with the GPU that it runs on.
            contract: contract of the graph.
            outputs: outputs as the graph has them.
            errors: types that ONNX Runtime raises.
            recorder: recorder of runs as CUDA graphs; None where the session records none.
            without_graphs: opens a session that records none.
        """
        self.session, self._cuda, self._recorder = session, cuda, recorder
        self._errors, self._open = errors, without_graphs
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

    @property
    def graph_state(self) -> str:
        """What is recorded, in words."""
        return "none" if self._recorder is None else self._recorder.state

    def close(self) -> None:
        """Gives the buffers back."""
        with self._lock:
            idle, self._idle = self._idle, []
        for buffers in idle:
            buffers.close()

    def _run(
        self, batch: int, keep: np.ndarray | None, outputs: Sequence[str], bring: Callable[[Slot], None]
    ) -> Outputs:
        with self._buffers(batch) as buffers:
            slot = buffers.slot
            bring(slot)
            slot.uploaded.synchronize()  # ONNX Runtime computes on a stream of its own
            binding = self._compute(buffers, batch, keep, tuple(outputs))
            return self._fetch(slot, batch, outputs, binding)

    def _compute(self, buffers: _Buffers, batch: int, keep: np.ndarray | None, outputs: tuple[str, ...]) -> Any:
        """Runs on what lies in the buffers, until it is done. Returns the binding."""
        recorder = self._recorder

        def bind() -> Any:
            return self._bound(buffers.slot, batch, keep, outputs)

        if recorder is None:
            return self._run_bound(bind())
        with recorder.lock:
            # An output without a place would be written where it was the first time, which is another's by then.
            placed = buffers.slot.addresses().keys() >= set(outputs)
            key = batch, () if keep is None else tuple(keep.tolist()), outputs
            recording = recorder.recording(buffers.recordings, key, bind) if placed else None
            if recording is None:
                return self._run_bound(bind(), recorder.unrecorded)
            try:
                self._run_bound(recording.binding, recording.options)
            except self._errors as error:
                if recording.done:
                    raise
                self._do_without_graphs(recorder, error)
                return self._run_bound(bind())
            recording.done = True
            return recording.binding

    def _run_bound(self, binding: Any, options: Any = None) -> Any:
        self.session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
        return binding

    def _do_without_graphs(self, recorder: Recorder, error: Exception) -> None:
        """A session that failed to record may record still: another one goes on."""
        _log.warning("CUDA graphs are given up, runs are slower: %s", error)
        recorder.turn_off(str(error))
        self.session = self._open()

    def _bound(self, slot: Slot, batch: int, keep: np.ndarray | None, outputs: Sequence[str]) -> Any:
        binding, gpu = self.session.io_binding(), self._cuda.device.index
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
        return binding

    def _fetch(self, slot: Slot, batch: int, outputs: Sequence[str], binding: Any) -> Outputs:
        known = {name: _shape(self._outputs[name], batch) for name in outputs if name in slot.addresses()}
        slot.copies.record(slot.computed)
        slot.download(list(known), known)
        slot.done.synchronize()
        if len(known) == len(outputs):
            return {name: slot.read(name, known[name]) for name in outputs}
        return {
            name: slot.read(name, known[name]) if name in known else value.numpy()
            for name, value in zip(outputs, binding.get_outputs(), strict=True)
        }

    @contextmanager
    def _buffers(self, batch: int) -> Iterator[_Buffers]:
        """Buffers for one call; they go back even when it failed, once what it queued is done."""
        with self._lock:
            buffers = self._idle.pop() if self._idle else None
        if buffers is not None and buffers.batch < batch:
            buffers.close()
            buffers = None  # the old memory is free before the new is asked for
        buffers = buffers or _Buffers(self._cuda, batch, self._inputs, self._outputs)
        try:
            yield buffers
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
        recordings: runs on them that are recorded as CUDA graphs.
    """

    def __init__(
        self,
        cuda: CudaRuntime,
        batch: int,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
    ) -> None:
        self.batch = batch
        self.recordings: dict[Key, Recording] = {}
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
