"""TensorRT: the backend that runs engines on an NVIDIA GPU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from ..cuda import CudaRuntime, open_cuda
from ..errors import BackendError
from ..half_twin import half_twin
from ..images.device_frames import DeviceFrame
from ..images.placement import Placement
from ..stage_times import StageTimes
from ..tensorrt import BuildOptions, EngineCard, build_cached
from ..tensorrt.context import EngineContext, Ticket
from ..tensorrt.engine import Engine, check_version, find_tensorrt, open_engine, read_engine
from ..tensorrt.layer_names import layer_origins
from ..tensorrt.letterbox_kernel import LetterboxKernel
from .base import Backend, Capabilities, DeviceInfo, Outputs, QueueHooks
from .gpu_frames import check_gpu_frames, letterbox_writer
from .options import LoadOptions

#: Batch sizes and plans whose CUDA graphs are held, per context.
GRAPHS = 16
#: Frames of the host with more pixels than this are sent to the GPU whole, and letterboxed there.
#:
#: Either way the CPU goes through every pixel: to letterbox it, or to copy it to where the GPU fetches it. What
#: sending saves is the arithmetic; what it costs is 3 bytes a pixel on the bus, where otherwise the input goes (1.4 MB
#: at 672x672). On one x86 core and to 672x672, letterboxing takes about 1.5 ms at 1920x1080 and 5 ms at 3840x2160,
#: copying 0.3 and 3.5 ms, and a bus of 12 GB/s another 0.5 and 2 ms; to 1024x2048 letterboxing takes 4 and 8 ms or
#: more. So up to Full HD there is a millisecond to win, which a stream spends beside the GPU's work anyway; beyond,
#: milliseconds of a core come back at about the same delay. On a Jetson nothing is copied a second time, and
#: its cores are the slower ones: Full HD is sent whole there, too, which is not measured yet.
LARGE_FRAME_PIXELS = 1920 * 1080
LARGE_FRAME_PIXELS_INTEGRATED = 1920 * 1080 - 1
_log = logging.getLogger(__name__)


class TensorRtBackend(Backend):
    """An engine on the GPU.

    Threads: `run`, `measure` and `layers` may be called from several threads at once; each call has an execution
    context with its stream and buffers to itself, and so has each open `queue`. There are as many as there were callers
    at once: the first is made with the backend, so that one thread allocates nothing from then on. `close` must not
    overlap a call.

    Attributes:
        engine_card: engine card of the engine that runs.
        large_frame_pixels: frames of the host with more pixels are letterboxed on the GPU; None for none, as
            where the kernel is missing. May be set at any time.
    """

    name = "tensorrt"

    def __init__(
        self,
        path: str | Path,
        device: str | None = None,
        graphs: int = GRAPHS,
        large_frame_pixels: int | Literal["auto"] | None = "auto",
        plugins: Path | None = None,
    ) -> None:
        """Opens an engine file with the card beside it.

        Args:
            path: path of the engine.
            device: ``cuda`` or None.
            graphs: batch sizes and plans to hold CUDA graphs for; 0 for none.
            large_frame_pixels: see the attribute; ``auto`` for the limit of this kind of GPU.
            plugins: the plugin library; None for where the engine's card and `find_plugins_to_run` look.

        Raises:
            ModelError, CardError, BackendError, MissingDependencyError: see `open_backend`.
        """
        check_device(device)
        path = Path(path)
        data, card = read_engine(path)
        trt = find_tensorrt(card, path)
        check_version(trt, card, path)
        self._cuda: CudaRuntime = open_cuda()
        self._graphs = graphs
        self._engine: Engine | None = open_engine(path, data, card, trt, self._cuda, plugins)
        self.engine_card: EngineCard = card
        gpu = self._cuda.device
        usual = LARGE_FRAME_PIXELS_INTEGRATED if gpu.integrated else LARGE_FRAME_PIXELS
        self.large_frame_pixels = usual if large_frame_pixels == "auto" else large_frame_pixels
        super().__init__(
            path,
            card.model,
            tuple(self._engine.outputs),
            DeviceInfo("cuda", gpu.name, gpu.compute_capability, gpu.integrated),
            Capabilities(queue=True, device_frames=True, measure=True, layers=True),
            self._engine.batches,
        )
        self._lock = threading.Lock()
        self._letterbox: LetterboxKernel | None = None
        self._idle = [EngineContext(self._engine, self._cuda, graphs)]

    @property
    def details(self) -> dict[str, str]:
        """See `Backend.details`."""
        details = {
            "library": self.engine_card.inputs.tensorrt,
            "device": str(self.device),
            "memory": "of the GPU" if self.device.copies else "shared with the host, nothing is copied",
        }
        with self._lock:
            if self._idle:
                details["cuda graphs"] = self._idle[-1].graph_state
        return details

    def _run(self, feeds: dict[str, np.ndarray], outputs: tuple[str, ...]) -> Outputs:
        with self._context() as context:
            return context.collect(context.submit(feeds, outputs))

    def _prepare(self, keeps: Sequence[np.ndarray | None], batch: int) -> None:
        """Records CUDA graphs in one context: that of the next call, or of the queue that is opened next."""
        with self._context() as context:
            for keep in keeps:
                context.prepare(batch, keep)

    def _prefers_gpu_letterbox(self, frames: Sequence[np.ndarray]) -> bool:
        """Never where the kernel is missing, which is logged once."""
        limit = self.large_frame_pixels
        if limit is None or self.card.input.layout != "camera":
            return False
        if max(frame.shape[0] * frame.shape[1] for frame in frames) <= limit:
            return False
        try:
            self._letterbox_kernel()
        except BackendError as error:
            self.large_frame_pixels = None
            _log.warning("large frames are scaled by the CPU: %s", error)
            return False
        return True

    def _run_frames(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        letterboxes: Sequence[Placement],
        feeds: dict[str, np.ndarray],
        outputs: tuple[str, ...],
    ) -> Outputs:
        """The kernel is that of the plugin library, also for a portable engine."""
        with self._context() as context:
            return context.collect(self._submit_frames(context, frames, letterboxes, feeds, outputs))

    @contextmanager
    def _queue(self) -> Iterator[_Queue]:
        with self._context() as context:
            try:
                yield _Queue(self, context)
            finally:
                context.drain()

    def _measure(self, feeds: dict[str, np.ndarray], outputs: tuple[str, ...]) -> StageTimes:
        """Times are those of CUDA events."""
        with self._context() as context:
            return context.stage_times(context.submit(feeds, outputs))

    def _layers(self, feeds: dict[str, np.ndarray]) -> list[tuple[str, float]]:
        """The run is the second of a context of its own.

        A layer is named after the nodes it was made of; one of which the engine does not tell keeps its own name.
        """
        engine = self._opened()
        context = EngineContext(engine, self._cuda, graphs=0)
        try:
            context.collect(context.submit(feeds, ()))
            found: list[tuple[str, float]] = []
            context.profile(lambda name, ms: found.append((name, ms)))
            context.collect(context.submit(feeds, ()))
        finally:
            context.close()
        origins = layer_origins(engine.trt, engine.engine)
        return [(origins.get(name, name), ms) for name, ms in found]

    def _close(self) -> None:
        """The memory of the weights goes with the engine."""
        with self._lock:
            idle, self._idle, self._engine = self._idle, [], None
        for context in idle:
            context.close()

    def _opened(self) -> Engine:
        engine = self._engine
        if engine is None:
            raise BackendError(f"{self.path.name} is closed; load the model again")
        return engine

    def _submit_frames(
        self,
        context: EngineContext,
        frames: Sequence[DeviceFrame | np.ndarray],
        letterboxes: Sequence[Placement],
        feeds: dict[str, np.ndarray],
        outputs: tuple[str, ...],
    ) -> Ticket:
        check_gpu_frames(frames, self._cuda, self.card.input, self.path.name)
        write = letterbox_writer(self._letterbox_kernel(), letterboxes, self.card.input.pad_value)
        return context.submit_frames(frames, feeds, outputs, write)

    def _letterbox_kernel(self) -> LetterboxKernel:
        with self._lock:
            if self._letterbox is None:
                self._letterbox = LetterboxKernel(self._opened().plugins, self.card.input.resize)
            return self._letterbox

    def _check_batch(self, batch: int) -> None:
        smallest, largest = self._opened().batches
        if not smallest <= batch <= largest:
            raise BackendError(
                f"{batch} frames at once; {self.path.name} was built for {smallest} to {largest}. Build it again with "
                f"--batch {min(smallest, batch)},{batch},{max(largest, batch)}"
            )

    @contextmanager
    def _context(self) -> Iterator[EngineContext]:
        """A context for one call; it goes back even when the call failed, as failed runs are waited for."""
        with self._lock:
            context = self._idle.pop() if self._idle else None
        context = context or EngineContext(self._opened(), self._cuda, self._graphs)
        try:
            yield context
        finally:
            with self._lock:
                keep = self._engine is not None
                if keep:
                    self._idle.append(context)
            if not keep:
                context.close()


class _Queue(QueueHooks):
    """A context of its own while it is open."""

    def __init__(self, backend: TensorRtBackend, context: EngineContext) -> None:
        self._backend, self._context = backend, context

    def submit(self, feeds: dict[str, np.ndarray], outputs: tuple[str, ...]) -> Ticket:
        return self._context.submit(feeds, outputs)

    def submit_frames(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        letterboxes: Sequence[Placement],
        feeds: dict[str, np.ndarray],
        outputs: tuple[str, ...],
    ) -> Ticket:
        return self._backend._submit_frames(self._context, frames, letterboxes, feeds, outputs)

    def collect(self, ticket: Ticket) -> Outputs:
        return self._context.collect(ticket)


def check_device(device: str | None) -> None:
    """Raises BackendError for a device that engines do not run on."""
    if device not in (None, "cuda"):
        raise BackendError(f"engines run on device cuda, not {device!r}; for the CPU load the .onnx file")


def build_or_reuse(model: Path, options: LoadOptions) -> Path:
    """The engine of a model file in the cache, built when there is none of the same file, plugins, TensorRT and GPU.

    Of a bundled model it is that of its half-precision twin, unless another precision is asked for.

    Raises:
        BackendError: there is no GPU to run it on, which is known before minutes of building.
        BuildError, ModelError, CardError, MissingDependencyError, SinkError: see `build_cached`.
    """
    check_device(options.device)
    open_cuda()
    settings = BuildOptions(
        portable=options.portable,
        batch=options.batch or (1, 1, 1),
        plugins=options.plugins,
        tf32=options.precision == "tf32",
    )
    source = half_twin(model) if options.precision == "auto" else model
    report = build_cached(source, settings, progress=_Announcement(model))
    if report.reasons:
        _log.warning("built %s for %s: %s", report.engine, model.name, "; ".join(report.reasons))
    return report.engine


class _Announcement:
    """Says once that a build has begun: it takes minutes on a Jetson."""

    def __init__(self, model: Path) -> None:
        self._text: str | None = f"building an engine from {model.name}: this takes minutes, once"

    def start(self, title: str, total: float | None = None) -> None:
        if self._text is not None:
            _log.warning(self._text)
            self._text = None

    def advance(self, done: float | None = None, note: str = "") -> None:
        pass
