"""A loaded model: frames in, results in the frame's own pixels out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from .activity import WindowActivity
from .backends import Backend, open_backend
from .card import ModelCard
from .errors import ModelError, PlanError
from .frames import check_frame
from .letterbox import Letterbox
from .palette import class_palette
from .plan import Plan, PlanLike, dense_keep, kept_windows
from .probe import probe_image
from .results import Detections, Features, Result, Segmentation, Timings

if TYPE_CHECKING:
    from .pipeline import Stream
    from .sources.base import Source

_BUNDLED = Path(__file__).with_name("models")
#: Detections below this score are left out unless the caller says otherwise.
DEFAULT_THRESHOLD = 0.25


def bundled_models() -> dict[str, Path]:
    """Models that come with the package, by name."""
    return {path.stem: path for path in sorted(_BUNDLED.glob("*.onnx"))}


def load(model: str | Path, backend: str = "auto", *, threads: int | None = None, device: str | None = None) -> Model:
    """Opens a model.

    Args:
        model: path of an exported file, or the name of a bundled model (`bundled_models`).
        backend: ``auto`` chooses by the file's suffix; ``onnxruntime``.
        threads: processor threads for inference; None for one per physical core.
        device: ``cpu``, ``cuda``, or None for the best this machine offers.

    Raises:
        ModelError: no such file or bundled model, a broken file, or not one of ours (CardError when only the card is
            missing, invalid or of a newer schema).
        BackendError: the backend or device is not available here.
        MissingDependencyError: the backend's library is not installed.
    """
    bundled = bundled_models()
    path = Path(model)
    if str(model) in bundled and not path.exists():
        path = bundled[str(model)]
    elif not path.suffix and not path.exists():
        raise ModelError(
            f"no model {str(model)!r}: neither a file nor a bundled model (there are: {', '.join(bundled) or 'none'}); "
            "give the path of an .onnx file"
        )
    return Model(open_backend(path, backend, threads=threads, device=device))


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
        self._stages = card.stages
        self._palette = class_palette(card)
        self._fixed = None if card.windows.fixed is None else Plan(card.windows.fixed)

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
            frame: (H, W, 3) uint8 BGR, any size.
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
        job = Job(self, sparsity, activity=activity, threshold=threshold)
        if not len(frames):
            return []
        frames = [check_frame(frame) for frame in frames]
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

        return Stream(Job(self, sparsity, activity=activity, threshold=threshold), source)

    def warm_up(self, runs: int = 2) -> None:
        """Runs the probe image, so that the first real frame does not pay for allocations."""
        for _ in range(runs):
            self(probe_image(*self.input_hw, seed=0))

    def close(self) -> None:
        """Releases the backend. Safe to repeat."""
        with self._lock:
            self.backend.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Job:
    """One way of running a model: the plan resolved, the outputs chosen. Calls and streams go through it.

    Threads: holds no buffers; safe from several threads.

    Attributes:
        model: that runs.
        keep: windows per block pair, (pairs,) int64; None for a fixed export.
    """

    def __init__(self, model: Model, sparsity: PlanLike | None, *, activity: bool, threshold: float) -> None:
        """Raises PlanError when `sparsity` does not fit the model."""
        self.model = model
        self._activity = activity
        self._threshold = threshold
        self._stages = model._stages
        self._fixed = model._fixed
        self.keep = self._resolve(sparsity)
        self._kept = self._kept_of_result()
        self._share = self._window_share()
        answers = {
            "segmentation": ("labels",),
            "detection": ("boxes", "scores", "classes"),
            "backbone": tuple(f"stage{i}" for i in range(len(self._stages))),
        }[model.task]
        orders = tuple(n for n in model.backend.output_names if n.startswith(("windows", "shifted_windows")))
        self._orders = orders if activity else ()
        self._outputs = answers + self._orders

    def letterbox(self, frame: np.ndarray, image: np.ndarray) -> Letterbox:
        """Writes a checked frame into one image of the input buffer, (h, w, 3) uint8."""
        letterbox = Letterbox((frame.shape[1], frame.shape[0]), self.model.input_hw)
        letterbox.apply(frame, image, self.model.card.input.pad_value)
        return letterbox

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs letterboxed images (B, h, w, 3) uint8."""
        card = self.model.card.input
        if card.layout == "normalized":
            rgb = images[..., ::-1].astype(np.float32)
            images = ((rgb - np.float32(card.mean)) / np.float32(card.std)).transpose(0, 3, 1, 2)
        return self.model.backend.run(images, self.keep, self._outputs)

    def result(
        self,
        outputs: dict[str, np.ndarray],
        sample: int,
        letterbox: Letterbox,
        frame: np.ndarray,
        timings: dict[str, float],
        **about: int,
    ) -> Result:
        """Decodes one sample of a run.

        Args:
            outputs: of `run`.
            sample: position in the batch.
            letterbox: of the frame.
            frame: kept in the result.
            timings: of the earlier stages.
            about: `frame_index`, `timestamp_ns`, `dropped` of the result.
        """
        start = time.perf_counter()
        task, names = self.model.task, self.model.class_names
        if task == "segmentation":
            kind = Segmentation
            answer = {"label_map": letterbox.map_to_frame(outputs["labels"][sample]), "palette": self.model._palette}
        elif task == "detection":
            kind, answer = Detections, self._decode_boxes(outputs, sample, letterbox)
        else:
            kind, names = Features, None
            answer = {"maps": tuple(outputs[f"stage{i}"][sample] for i in range(len(self._stages)))}
        if names is not None:
            answer["names"] = names
        activity = self._window_activity(outputs, sample, letterbox) if self._activity else None
        spent = Timings(**timings, postprocess_ms=(time.perf_counter() - start) * 1e3)
        return kind(
            **answer,
            image_wh=letterbox.frame_wh,
            timings=spent,
            keep=self._kept,
            window_share=self._share,
            activity=activity,
            image=frame,
            **about,
        )

    def _decode_boxes(self, outputs: dict[str, np.ndarray], sample: int, letterbox: Letterbox) -> dict[str, np.ndarray]:
        scores, classes = outputs["scores"][sample], outputs["classes"][sample]
        boxes = letterbox.boxes_to_frame(outputs["boxes"][sample])
        visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # some lie wholly in the borders
        chosen = visible & (scores >= self._threshold)
        return {"xyxy": boxes[chosen], "confidence": scores[chosen], "class_id": classes[chosen]}

    def _window_activity(self, outputs: dict[str, np.ndarray], sample: int, letterbox: Letterbox) -> WindowActivity:
        orders = {name: outputs[name][sample] for name in self._orders}
        return WindowActivity.from_orders(orders, self._stages, letterbox, keep=self.keep, fixed=self._fixed)

    def _resolve(self, sparsity: PlanLike | None) -> np.ndarray | None:
        depths = self.model.card.windows.depths
        if self._fixed is None:
            return dense_keep(self._stages) if sparsity is None else Plan.parse(sparsity, depths).keep(self._stages)
        if sparsity is not None and Plan.parse(sparsity, depths) != self._fixed:
            raise PlanError(
                f"{self.model.card.name} is a fixed export with the ratios {self._fixed.ratios}, asked for {sparsity!r}; "
                "leave the sparsity out, or export without --fixed"
            )
        return None

    def _kept_of_result(self) -> tuple[int, ...] | None:
        if self.keep is not None:
            return tuple(self.keep.tolist())
        try:
            return tuple(self._fixed.keep(self._stages).tolist())
        except PlanError:  # legal in a fixed export: the blocks of a pair keep different counts
            return None

    def _window_share(self) -> float:
        total = sum(s.windows * s.depth for s in self._stages)
        if self._fixed is not None:
            pairs = zip(self._fixed.ratios, self._stages)
            return sum(kept_windows(s.windows, r) for ratios, s in pairs for r in ratios) / total
        blocks = [min(2, s.depth - 2 * p) for s in self._stages for p in range(s.pairs)]
        return float(np.dot(self.keep, blocks)) / total
