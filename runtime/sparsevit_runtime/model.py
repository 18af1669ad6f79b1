"""A loaded model: frames in, results in the frame's own pixels out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from .backends import Backend, open_backend
from .card import ModelCard
from .errors import FrameError, ModelError
from .images.device_frames import DeviceFrame, is_device_frame, read_device_frame
from .images.frames import check_frame
from .images.probe import probe_image
from .job import Job
from .results import Result
from .windows.plan import PlanLike

if TYPE_CHECKING:
    from typing_extensions import Self

    from .pipeline import Stream
    from .sources.base import Source

_BUNDLED = Path(__file__).with_name("models")
#: Detections below this score are left out unless the caller says otherwise.
DEFAULT_THRESHOLD = 0.25


def bundled_models() -> dict[str, Path]:
    """Models that come with the package, by name."""
    return {path.stem: path for path in sorted(_BUNDLED.glob("*.onnx"))}


def find_model(model: str | Path) -> Path:
    """Path of a model file, or of a bundled model by its name; a file of that name goes first.

    Raises:
        ModelError: neither.
    """
    bundled = bundled_models()
    path = Path(model)
    if str(model) in bundled and not path.exists():
        return bundled[str(model)]
    if not path.suffix and not path.is_file():
        raise ModelError(
            f"no model {str(model)!r}: neither a file nor a bundled model (there are: {', '.join(bundled) or 'none'}); "
            "give the path of an .onnx file"
        )
    return path


def load(model: str | Path, backend: str = "auto", *, threads: int | None = None, device: str | None = None) -> Model:
    """Opens a model.

    Args:
        model: path of an exported file or of an engine, or the name of a bundled model (`bundled_models`).
        backend: ``auto`` chooses by the file's suffix; ``onnxruntime``; ``tensorrt`` runs an engine, and makes one of
            an exported file first, once (kept in ~/.cache/sparsevit, or the folder $SPARSEVIT_CACHE).
        threads: processor threads for inference; None for one per physical core.
        device: ``cpu``, ``cuda``, or None for the best this machine offers.

    Raises:
        ModelError: no such file or bundled model, a broken file, or not one of ours (CardError when only the card is
            missing, invalid or of a newer schema).
        BackendError: the backend or device is not available here, or an engine is of another TensorRT or GPU.
        BuildError: no engine can be made of the file.
        MissingDependencyError: the backend's library is not installed.
    """
    return Model(open_backend(find_model(model), backend, threads=threads, device=device))


class Model:
    """A backend with everything around it: letterbox, plan, decoding.

    Threads: calls from several threads are safe and wait for one another. A stream has buffers of its own and runs
    beside calls.

    Attributes:
        backend: what runs the graph.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        card = backend.card
        self._lock = threading.Lock()
        self._buffer = np.empty((1, card.input.height, card.input.width, 3), np.uint8)

    @property
    def card(self) -> ModelCard:
        return self.backend.card

    @property
    def task(self) -> str:
        """``segmentation``, ``detection`` or ``backbone``."""
        return self.card.task

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.card.class_names

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the graph's input in pixels."""
        return self.card.input.height, self.card.input.width

    def __call__(
        self,
        frame: np.ndarray,
        sparsity: PlanLike | None = None,
        *,
        activity: bool = False,
        threshold: float = DEFAULT_THRESHOLD,
    ) -> Result:
        """Runs one frame.

        Args:
            frame: (H, W, 3) uint8 BGR, any size: a numpy array, or with the TensorRT backend anything on the GPU that
                has `__cuda_array_interface__`, which stays there; `image` of its result is None.
            sparsity: any form `Plan.parse` reads; None computes all windows, or the fixed plan of a `--fixed` export.
            activity: also tell which windows were computed.
            threshold: detections with a lower score are left out; other tasks ignore it.

        Returns:
            Segmentation, Detections or Features, as the model's task is.

        Raises:
            FrameError: `frame` is not a frame.
            PlanError: `sparsity` does not fit the model.
            BackendError: the run failed.
        """
        return self.batch([frame], sparsity, activity=activity, threshold=threshold)[0]

    def batch(
        self,
        frames: Sequence[np.ndarray],
        sparsity: PlanLike | None = None,
        *,
        activity: bool = False,
        threshold: float = DEFAULT_THRESHOLD,
    ) -> list[Result]:
        """Runs several frames, of any sizes, in one go; see `__call__`. The timings are those of the whole batch."""
        frames = list(frames)
        job = Job(self.backend, sparsity, activity=activity, threshold=threshold)
        if not frames:
            return []
        on_device = [is_device_frame(frame) for frame in frames]
        if all(on_device):
            return self._batch_whole(job, [read_device_frame(frame) for frame in frames])
        if any(on_device):
            raise FrameError("some frames of the batch are on the GPU, others are not; bring all of them to one place")
        frames = [check_frame(frame) for frame in frames]
        if job.prefers_gpu_letterbox(frames):
            return self._batch_whole(job, frames)
        with self._lock:
            start = time.perf_counter()
            if len(frames) > len(self._buffer):
                self._buffer = np.empty((len(frames), *self._buffer.shape[1:]), np.uint8)
            images = self._buffer[: len(frames)]
            letterboxes = [job.letterbox(frame, image) for frame, image in zip(frames, images)]
            ready = time.perf_counter()
            outputs = job.run(images)
            done = time.perf_counter()
        timings = {"preprocess_ms": (ready - start) * 1e3, "inference_ms": (done - ready) * 1e3}
        return [
            job.result(outputs, i, letterbox, frame, timings)
            for i, (frame, letterbox) in enumerate(zip(frames, letterboxes))
        ]

    def _batch_whole(self, job: Job, frames: list[DeviceFrame] | list[np.ndarray]) -> list[Result]:
        """Letterboxes on the GPU, which is in the time of the inference."""
        with self._lock:
            start = time.perf_counter()
            letterboxes, outputs = job.run_frames(frames)
            timings = {"inference_ms": (time.perf_counter() - start) * 1e3}
        return [
            job.result(outputs, i, letterbox, None if isinstance(frame, DeviceFrame) else frame, timings)
            for i, (frame, letterbox) in enumerate(zip(frames, letterboxes))
        ]

    def stream(
        self,
        source: str | Path | int | Source | Iterable[np.ndarray],
        sparsity: PlanLike | None = None,
        *,
        activity: bool = False,
        threshold: float = DEFAULT_THRESHOLD,
    ) -> Stream:
        """Runs every frame of a source, in order, with capture and inference overlapping the caller's own work.

        Files and folders never drop a frame; live sources drop those that come while the model is busy, and each
        result counts them in `dropped`. Every result carries its frame in `image`.

        Args:
            source: a URI, path or camera index (`open_source`), an open Source, or an iterable of frames. The stream
                closes it when it ends.
            sparsity, activity, threshold: as in `__call__`.

        Returns:
            An iterator of results; also a context manager, whose exit stops the threads and closes the source.

        Raises:
            SourceError, PlanError: at once. While iterating also FrameError and BackendError.
        """
        from .pipeline import Stream

        return Stream(Job(self.backend, sparsity, activity=activity, threshold=threshold), source)

    def warm_up(self, runs: int = 2) -> None:
        """Runs the probe image, so that the first real frame does not pay for allocations."""
        probe = probe_image(*self.input_hw, seed=0)
        for _ in range(runs):
            self(probe)

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
