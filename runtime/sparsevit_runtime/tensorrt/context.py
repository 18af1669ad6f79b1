"""Runs of an engine for one caller: frames in, answers out, two runs overlapping."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contract import IMAGE, KEEP
from ..cuda import CudaRuntime, DeviceBuffer, DeviceView, Stream
from ..errors import BackendError
from ..images.device_frames import DeviceFrame
from ..stage_times import StageTimes
from ..windows.plan import dense_keep
from . import capabilities
from .engine import Engine
from .execution import Execution
from .shapes import Prepared, PreparedShapes, Replay
from .slot import Slot

#: Runs that may be in flight: while one computes, the next is uploaded, or the last one downloaded.
SLOTS = 2


@dataclass(eq=False)
class Ticket:
    """A run in flight, to be collected once.

    Attributes:
        slot: slot with its buffers.
        outputs: names of what was asked for.
        prepared: its batch size and `keep`.
        started, queued: host clock in seconds, before the first copy and after everything was queued.
    """

    slot: Slot
    outputs: tuple[str, ...]
    prepared: Prepared
    started: float
    queued: float
    collected: bool = False


class EngineContext:
    """What runs an engine for one caller: its stream, its buffers, its execution contexts and the graphs of their runs.

    A graph is right only as long as the execution context it was recorded from stays as it was then
    (https://github.com/NVIDIA/TensorRT/issues/3798). So each graph has an execution context of its own, and runs that
    are not recorded share another one.

    Threads: one at a time; whoever submits collects, the oldest first.

    Attributes:
        graph_state: way that runs are launched, for reports.
    """

    def __init__(self, engine: Engine, cuda: CudaRuntime, graphs: int) -> None:
        """
        Args:
            graphs: batch sizes and `keep`s to hold CUDA graphs for; 0 for none.

        Raises:
            BackendError: there is not enough memory, or an output has no largest shape.
        """
        self._engine = engine
        self._cuda = cuda
        self._make_context = capabilities.context_maker(engine.trt, engine.engine)
        self._activations = DeviceBuffer(cuda, engine.engine.device_memory_size_v2)
        self._stream = Stream(cuda)
        self._unrecorded: dict[int, Execution] = {}  # by profile
        self._profiler: object | None = None
        self._closed = False
        stages = engine.card.model.stages
        pairs = 0 if engine.keep is None else len(dense_keep(stages))
        keep = engine.keep or engine.image  # of a fixed export nothing is stored
        self._shapes = PreparedShapes(cuda, pairs, keep.dtype, keep.on_host, max(1, graphs), engine.levels)
        self._graphs_off = None if graphs else "not asked for"
        self._captured = 0
        largest = self._largest_shapes(None if engine.keep is None else dense_keep(stages))
        inputs = {t.name: (t, (engine.batches[1], *t.shape)) for t in (engine.image, *engine.frame_inputs)}
        outputs = {name: (tensor, largest[name]) for name, tensor in engine.outputs.items()}
        self._slots = [Slot(i, cuda, self._stream, inputs, outputs) for i in range(SLOTS)]

    @property
    def graph_state(self) -> str:
        if self._graphs_off is not None:
            return f"off: {self._graphs_off}"
        return f"{self._shapes.graphs} held, {self._captured} captured"

    @property
    def in_flight(self) -> int:
        """Runs submitted and not yet collected."""
        return sum(slot.busy for slot in self._slots)

    def submit(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Ticket:
        """Queues a run.

        Args:
            feeds: contiguous arrays by input, as the engine takes them.
            outputs: names of what to bring back.

        Raises:
            BackendError: both slots are taken, or something cannot be queued.
        """
        arrays = _without_keep(feeds)
        return self._submit(len(feeds[IMAGE]), feeds.get(KEEP), outputs, lambda slot: slot.upload(arrays))

    def submit_frames(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        feeds: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        write: Callable[[Sequence[DeviceFrame], DeviceView, Stream], None],
    ) -> Ticket:
        """Queues a run on frames of any size.

        Args:
            frames, write: arguments of `Slot.receive`.
            feeds, outputs: the same as in `submit`, without the image.
        """
        arrays = _without_keep(feeds)
        return self._submit(len(frames), feeds.get(KEEP), outputs, lambda slot: slot.receive(frames, write, arrays))

    def prepare(self, batch: int, keep: np.ndarray | None) -> bool:
        """Records the runs of a batch size and `keep` in every slot, so that the first of them costs no more than any
        other. Nothing is in flight.

        Returns:
            Whether they are recorded; not where there are no graphs, or no more than are held already.

        Raises:
            BackendError: something cannot be queued.
        """
        if self._graphs_off is not None or self._shapes.is_full(batch, keep):
            return False
        prepared = self._shapes.get(batch, keep, self._stream, self._drain)
        for slot in self._slots:
            if slot.index not in prepared.replays and self._graphs_off is None:
                self._record(slot, prepared)
        self._stream.synchronize()
        prepared.runs = max(prepared.runs, 1)
        return self._graphs_off is None

    def drain(self) -> None:
        """Waits for what is in flight and gives it up."""
        self._drain()
        for slot in self._slots:
            slot.busy = False

    def collect(self, ticket: Ticket) -> dict[str, np.ndarray]:
        """Waits for a run.

        Returns:
            New arrays by name.

        Raises:
            BackendError: the run failed on the GPU, or it was collected before.
        """
        self._finish(ticket)
        return {name: ticket.slot.read(name, ticket.prepared.output_shapes[name]) for name in ticket.outputs}

    def stage_times(self, ticket: Ticket) -> StageTimes:
        """Waits for a run, as `collect`, and returns its times."""
        self._finish(ticket)
        total = time.perf_counter() - ticket.started
        slot = ticket.slot
        return StageTimes(
            h2d_ms=slot.uploaded.milliseconds_after(slot.begun),
            compute_ms=slot.computed.milliseconds_after(slot.uploaded),
            d2h_ms=slot.done.milliseconds_after(slot.computed),
            enqueue_ms=(ticket.queued - ticket.started) * 1e3,
            total_ms=total * 1e3,
        )

    def profile(self, report: Callable[[str, float], None]) -> None:
        """Reports each layer's name and milliseconds of every run from now on, none of them from a graph."""
        self._drain()
        self._shapes.drop_graphs()
        self._graphs_off = "layers are profiled"
        self._profiler = capabilities.make_profiler(self._engine.trt, report)
        for execution in self._unrecorded.values():
            execution.context.profiler = self._profiler

    def close(self) -> None:
        """Waits for what is in flight and gives everything back. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        self._drain()
        self._shapes.close()
        for slot in self._slots:
            slot.close()
        self._unrecorded.clear()
        self._activations.close()
        self._stream.close()

    def _submit(
        self, batch: int, keep: np.ndarray | None, outputs: Sequence[str], fill: Callable[[Slot], None]
    ) -> Ticket:
        started = time.perf_counter()
        slot = next((slot for slot in self._slots if not slot.busy), None)
        if slot is None:
            raise BackendError(f"{SLOTS} runs are in flight already; collect one first")
        try:
            prepared = self._shapes.get(batch, keep, self._stream, self._drain)
            fill(slot)
            self._stream.wait(slot.uploaded)
            self._compute(slot, prepared)
            self._stream.record(slot.computed)
            slot.download(outputs, prepared.output_shapes)
        except BaseException:
            self._drain()
            raise
        slot.busy = True
        return Ticket(slot, tuple(outputs), prepared, started, time.perf_counter())

    def _finish(self, ticket: Ticket) -> None:
        if ticket.collected:
            raise BackendError("this run was collected before; submit another")
        ticket.collected = True
        ticket.slot.busy = False
        ticket.slot.done.synchronize()

    def _compute(self, slot: Slot, prepared: Prepared) -> None:
        prepared.runs += 1
        replay = prepared.replays.get(slot.index)
        if replay is not None:
            self._stream.launch(replay.graph)
        elif prepared.runs == 1 or self._graphs_off is not None or not self._record(slot, prepared):
            execution = self._shared_execution(prepared.profile)
            execution.bind(slot, prepared)
            execution.enqueue(self._stream)

    def _shared_execution(self, profile: int) -> Execution:
        if self._closed:
            raise BackendError(f"{self._engine.path.name} is closed; load the model again")
        execution = self._unrecorded.get(profile)
        if execution is None:
            self._unrecorded[profile] = execution = self._new_execution(profile)
            if self._profiler is not None:
                execution.context.profiler = self._profiler
        return execution

    def _record(self, slot: Slot, prepared: Prepared) -> bool:
        """Queues the run on an execution context of its own, and records it there for the next time.

        Returns:
            Whether the run is queued.
        """
        try:
            execution = self._new_execution(prepared.profile)
        except BackendError as error:  # its own memory beside the activations
            self._do_without_graphs(str(error))
            return False
        execution.bind(slot, prepared)
        execution.enqueue(self._stream)
        # What TensorRT does only once for new shapes and addresses cannot be recorded: it has to be over.
        self._stream.synchronize()
        reason = capabilities.capture_obstacle(execution.context, self._stream.address)
        if reason is None:
            try:
                graph = self._stream.capture(lambda: execution.enqueue(self._stream))
            except BackendError as error:
                reason = str(error)
            else:
                prepared.replays[slot.index] = Replay(graph, execution)
                self._captured += 1
        if reason is not None:
            self._do_without_graphs(reason)
        return True

    def _do_without_graphs(self, reason: str) -> None:
        self._graphs_off = reason
        logging.getLogger(__name__).warning("%s runs without CUDA graphs: %s", self._engine.path.name, reason)

    def _new_execution(self, profile: int) -> Execution:
        return Execution(self._engine, self._make_context, self._activations.view, profile, self._stream)

    def _largest_shapes(self, keep: np.ndarray | None) -> dict[str, tuple[int, ...]]:
        """Shapes of all outputs for the largest batch and all windows."""
        prepared = self._shapes.get(self._engine.batches[1], keep, self._stream, self._drain)
        shapes = self._shared_execution(prepared.profile).shapes(prepared)
        for name, shape in shapes.items():
            if min(shape) < 0:
                raise BackendError(f"output {name} of {self._engine.path.name} has no largest shape: {shape}")
        return shapes

    def _drain(self) -> None:
        """Waits for everything queued; what failed was or will be told by the run that waits for it."""
        for stream in {id(s): s for s in (self._stream, *(slot.copies for slot in self._slots))}.values():
            try:
                stream.synchronize()
            except BackendError as error:
                logging.getLogger(__name__).debug("while waiting: %s", error)


def _without_keep(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in feeds.items() if name != KEEP}
