"""A loaded model: frames in, results in the frame's own pixels out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from .arguments import as_path, as_text, as_whole
from .backends import Backend, LoadOptions, open_backend
from .bundled import bundled_models as bundled_models
from .card import ModelCard
from .errors import ArgumentError, FrameError, ModelError
from .files import expand_path
from .images.frames import FrameLike
from .images.probe import probe_image
from .runner import PlacedFrame, Request, Runner
from .tasks import Result
from .texts import shown
from .triton import is_served
from .windows.level import Level
from .windows.plan import PlanLike

if TYPE_CHECKING:
    from typing_extensions import Self

    from .live.reconnect import Reconnect
    from .live.stream import Stream
    from .sources.base import Source
    from .tracking import Tracking

#: Far beyond any machine; ONNX Runtime takes whatever it is told, and falls.
_MOST_THREADS = 1024


def find_model(model: str | Path) -> Path:
    """Path of a model file, or of a bundled model by its name; a file of that name goes first.

    Raises:
        ModelError: neither.
        ArgumentError: no path and no name.
    """
    bundled = bundled_models()
    name = str(as_path(model, "model"))
    try:
        path = expand_path(name)
    except ValueError as error:
        raise ModelError(f"{shown(name)} is no model that can be read ({error}); check the path") from error
    if name in bundled and not path.exists():
        return bundled[name]
    if not path.suffix and not path.is_file():
        raise ModelError(
            f"no model {name!r}: neither a file nor a bundled model (there are: {', '.join(bundled) or 'none'}); "
            "give the path of an .onnx file"
        )
    return path


def load(
    model: str | Path,
    backend: str = "auto",
    *,
    threads: int | None = None,
    device: str | None = None,
    options: LoadOptions | None = None,
) -> Model:
    """Opens a model.

    Args:
        model: path of an exported file or of an engine, the name of a bundled model (`bundled_models`), or
            ``triton://host:port/name`` for one that a Triton server runs.
        backend: ``auto`` chooses by the file's suffix; ``onnxruntime``; ``tensorrt`` runs an engine, and makes one of
            an exported file first, once (kept in ~/.cache/sparsevit, or the folder $SPARSEVIT_CACHE); ``triton``.
        threads: host threads for inference; None for one per physical core.
        device: ``cpu``, ``cuda``, or None for the best this machine offers.
        options: further settings; `threads` and `device` go before those in it.

    Raises:
        ModelError: no such file or bundled model, a broken file, or not one of ours (CardError when only the card is
            missing, invalid or of a newer schema).
        BackendError: the backend or device is not available here, or an engine is of another TensorRT or GPU.
        BuildError: no engine can be made of the file.
        MissingDependencyError: the backend's library is not installed.
        ArgumentError: an argument is of another type.
    """
    backend = as_text(backend, "backend")
    options = LoadOptions() if options is None else options
    if not isinstance(options, LoadOptions):
        raise ArgumentError(f"options is a LoadOptions, got {type(options).__name__}")
    options = replace(
        options,
        threads=options.threads if threads is None else threads,
        device=options.device if device is None else device,
    )
    if options.threads is not None:
        as_whole(options.threads, "threads", -_MOST_THREADS, _MOST_THREADS)
    if options.device is not None:
        as_text(options.device, "device")
    path = model if is_served(model) else find_model(model)
    opened = Model(open_backend(path, backend, options))
    opened._loaded = path, backend, options
    return opened


def _load_again(path: str | Path, backend: str, options: LoadOptions) -> Model:
    """What unpickling calls."""
    return load(path, backend, options=options)


class Model:
    """A backend with everything around it: letterbox, plan, decoding.

    `print` tells it in a line. A model that `load` opened can be pickled: it is loaded anew from its file, in the way
    it was loaded at first.

    Threads: calls from several threads are safe and wait for one another. A stream has buffers of its own and runs
    beside calls.

    Attributes:
        backend: backend that runs the graph.
        runner: way of frames through the backend.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.runner = Runner(backend)
        self._loaded: tuple[str | Path, str, LoadOptions] | None = None
        self._lock = threading.Lock()
        self._buffer = self.runner.new_buffer()

    def __str__(self) -> str:
        card, (height, width) = self.card, self.input_hw
        classes = f", {len(card.classes)} classes" if card.classes else ""
        return (
            f"{card.name}: {self.task}{classes}, input {width}x{height}, {card.precision}, "
            f"{self.backend.name} on {self.backend.device}"
        )

    def __repr__(self) -> str:
        return f"<Model {self}>"

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[Any, ...]]:
        if self._loaded is None:
            raise ModelError(
                f"{self.card.name} was made of an open backend, which belongs to this process; only models that `load` "
                "opened can be pickled"
            )
        return _load_again, self._loaded

    @property
    def card(self) -> ModelCard:
        return self.backend.card

    @property
    def task(self) -> str:
        """Name of the task, as the card says it."""
        return self.card.task

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.card.class_names

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the graph's input in pixels."""
        return self.card.input.height, self.card.input.width

    def level(self, sparsity: PlanLike | Level | None = None) -> Level:
        """A sparsity resolved for this model, once; calls and streams take it in place of a sparsity.

        Args:
            sparsity: any form `Plan.parse` reads; None computes all windows, or the fixed plan of a `--fixed` export.

        Raises:
            PlanError: it does not fit the model.
        """
        return self.runner.level(sparsity)

    @overload
    def __call__(
        self,
        frame: FrameLike,
        sparsity: PlanLike | Level | None = None,
        *,
        activity: bool = False,
        threshold: float | None = None,
        inputs: Mapping[str, np.ndarray] | None = None,
    ) -> Result: ...

    @overload
    def __call__(
        self,
        frame: list[FrameLike] | tuple[FrameLike, ...],
        sparsity: PlanLike | Level | None = None,
        *,
        activity: bool = False,
        threshold: float | None = None,
        inputs: Sequence[Mapping[str, np.ndarray]] | None = None,
    ) -> list[Result]: ...

    def __call__(
        self,
        frame: FrameLike | list[FrameLike] | tuple[FrameLike, ...],
        sparsity: PlanLike | Level | None = None,
        *,
        activity: bool = False,
        threshold: float | None = None,
        inputs: Any = None,
    ) -> Result | list[Result]:
        """Runs one frame, or a list of frames in one go as `batch` does.

        Args:
            frame: (H, W, 3) uint8 BGR, any size: a numpy array, or with the TensorRT backend anything on the GPU that
                has `__cuda_array_interface__`, which stays there; `image` of its result is None. Or a list of them.
            sparsity: any form `Plan.parse` reads, or a level; None computes all windows, or the fixed plan of a
                `--fixed` export.
            activity: results also tell which windows were computed.
            threshold: detections with a lower score are left out; None for what the card says, else 0.25. Other tasks
                ignore it.
            inputs: arrays that the model takes with each frame beside its pixels, by name, without a batch; most take
                nothing. One set for each frame of a list.

        Returns:
            Segmentation, Detections, Instances or Features, as the model's task is; of a list of frames a list of them.

        Raises:
            FrameError: `frame` is not a frame, an input is missing, or one is given that the model does not take.
            ArgumentError: another argument is of another type, or the threshold is not finite.
            PlanError: `sparsity` does not fit the model.
            BackendError: the run failed.
        """
        if isinstance(frame, (list, tuple)):
            return self.batch(frame, sparsity, activity=activity, threshold=threshold, inputs=inputs)
        every = None if inputs is None else [inputs]
        return self.batch([frame], sparsity, activity=activity, threshold=threshold, inputs=every)[0]

    def batch(
        self,
        frames: Sequence[FrameLike],
        sparsity: PlanLike | Level | None = None,
        *,
        activity: bool = False,
        threshold: float | None = None,
        inputs: Sequence[Mapping[str, np.ndarray]] | None = None,
    ) -> list[Result]:
        """Runs several frames, of any sizes, in one go; see `__call__`. The timings are those of the whole batch."""
        request = self.runner.request(self.level(sparsity), activity=activity, threshold=threshold)
        if not isinstance(frames, Sequence) or isinstance(frames, (str, bytes)):
            hint = "; split a batch with list(frames)" if isinstance(frames, np.ndarray) else ""
            raise ArgumentError(f"frames is a list of frames, got {type(frames).__name__}{hint}")
        if inputs is not None and not isinstance(inputs, Sequence):
            raise ArgumentError(f"inputs is a list with one set for each frame, got {type(inputs).__name__}")
        if not all(isinstance(each, Mapping) for each in inputs or ()):
            raise ArgumentError("inputs is a mapping of arrays by name for each frame")
        if inputs is not None and len(inputs) != len(frames):
            raise FrameError(f"{len(frames)} frames come with {len(inputs)} sets of inputs; give one for each frame")
        taken = [spec.name for spec in self.runner.contract.frame_inputs]
        if unknown := sorted({str(name) for each in inputs or () for name in each if name not in taken}):
            raise FrameError(
                f"{self.card.name} takes no {', '.join(unknown)} with a frame; it takes {', '.join(taken) or 'nothing'}"
            )
        placed = [self.runner.place(frame, inputs[i] if inputs else None) for i, frame in enumerate(frames)]
        if not placed:
            return []
        of_host = [each.image is not None for each in placed]
        if not all(of_host) and any(of_host):
            raise FrameError("some frames of the batch are on the GPU, others are not; bring all of them to one place")
        if any(each.on_gpu for each in placed):
            return self._run_on_gpu(placed, request)
        with self._lock:
            start = time.perf_counter()
            if len(placed) > len(self._buffer):
                self._buffer = self.runner.new_buffer(len(placed))
            images = self._buffer[: len(placed)]
            for each, image in zip(placed, images):
                self.runner.letterbox(each, image)
            ready = time.perf_counter()
            outputs = self.runner.run(placed, images, request)
            done = time.perf_counter()
        timings = {"preprocess_ms": (ready - start) * 1e3, "inference_ms": (done - ready) * 1e3}
        return [self.runner.decode(outputs, i, each, request, timings) for i, each in enumerate(placed)]

    def _run_on_gpu(self, placed: list[PlacedFrame], request: Request) -> list[Result]:
        """Letterboxes on the GPU, which is in the time of the inference."""
        with self._lock:
            start = time.perf_counter()
            outputs = self.runner.run(placed, None, request)
            timings = {"inference_ms": (time.perf_counter() - start) * 1e3}
        return [self.runner.decode(outputs, i, each, request, timings) for i, each in enumerate(placed)]

    def stream(
        self,
        source: str | Path | int | Source | Iterable[FrameLike],
        sparsity: PlanLike | Level | None = None,
        *,
        activity: bool = False,
        threshold: float | None = None,
        reconnect: Reconnect | None = None,
        track: bool | Tracking = False,
    ) -> Stream:
        """Runs every frame of a source, in order, with capture and inference overlapping the caller's own work.

        Files and folders never drop a frame; live sources drop those that come while the model is busy, and each
        result counts them in `dropped`. Every result carries its frame in `image`, unless it is on the GPU.

        Args:
            source: a URI, path or camera index (`open_source`), an open Source, or an iterable of frames, each of which
                has to stay as it is until its result has come. The stream closes it when it ends.
            sparsity, activity, threshold: the same as in `__call__`.
            reconnect: rule by which a camera or stream is opened anew; None gives one named by its URI some seconds to
                come back after it broke.
            track: detected objects keep their numbers (`Detections.track_ids`); a `Tracking` says how, and where they
                are counted (`Detections.counts`).

        Returns:
            An iterator of results, whose `level` may be changed on the way; also a context manager, whose exit stops
            the threads and closes the source. A camera that hangs is not waited for.

        Raises:
            SourceError, PlanError: at once, and ArgumentError where the model finds no objects to track. While
                iterating also FrameError and BackendError.
        """
        from .live.stream import Stream

        return Stream(
            self.runner, source, sparsity, activity=activity, threshold=threshold, reconnect=reconnect, track=track
        )

    def warm_up(self, runs: int = 2) -> None:
        """Runs the probe image, so that the first real frame does not pay for allocations. Raises ArgumentError."""
        runs = as_whole(runs, "runs", 0, 10_000)
        probe = probe_image(*self.input_hw, seed=0)
        nothing = {
            spec.name: np.zeros([int(size) for size in spec.shape[1:]], spec.dtype)
            for spec in self.runner.contract.frame_inputs
        }
        for _ in range(runs):
            self(probe, inputs=nothing)

    def close(self) -> None:
        """Releases the backend. Safe to repeat."""
        with self._lock:
            self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
