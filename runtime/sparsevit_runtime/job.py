"""One way of running a model: from letterboxed images to results. Calls, batches and streams all go through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backends import Backend
from .backends.base import DeviceFrameBackend, QueuedBackend, StageTimes
from .errors import FrameError, PlanError
from .images.device_frames import DeviceFrame
from .images.letterbox import Letterbox
from .images.palette import class_palette
from .results import Detections, Features, Result, Segmentation, Timings
from .windows.activity import WindowActivity
from .windows.plan import Plan, PlanLike, dense_keep, kept_windows


@dataclass(frozen=True)
class JobQueue:
    """The runs of a job, two of them in flight.

    Attributes:
        submit: letterboxed images (B, h, w, 3) uint8, free again when it returns -> ticket.
        submit_frames: frames of `Job.prefers_gpu_letterbox`, free again when it returns -> ticket.
        collect: ticket, the oldest first -> outputs.
    """

    submit: Callable[[np.ndarray], Any]
    submit_frames: Callable[[Sequence[np.ndarray]], Any]
    collect: Callable[[Any], dict[str, np.ndarray]]


class Job:
    """One way of running a model: the plan resolved, the outputs chosen. Calls and streams go through it.

    Threads: holds no buffers; safe from several threads.

    Attributes:
        backend: that runs.
        keep: windows per block pair, (pairs,) int64; None for a fixed export.
    """

    def __init__(self, backend: Backend, sparsity: PlanLike | None, *, activity: bool, threshold: float) -> None:
        """Raises PlanError when `sparsity` does not fit the model."""
        self.backend = backend
        self._card = card = backend.card
        self._activity = activity
        self._threshold = threshold
        self._stages = card.stages
        self._palette = class_palette(card)
        self._fixed = None if card.windows.fixed is None else Plan(card.windows.fixed)
        self.keep = self._resolve(sparsity)
        self._kept = self._kept_of_result()
        self._share = self._window_share()
        self._answers = {
            "segmentation": ("labels",),
            "detection": ("boxes", "scores", "classes"),
            "backbone": tuple(f"stage{i}" for i in range(len(self._stages))),
        }[card.task]
        orders = tuple(n for n in backend.output_names if n.startswith(("windows", "shifted_windows")))
        self._orders = orders if activity else ()
        self._outputs = self._answers + self._orders

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the graph's input in pixels."""
        return self._card.input.height, self._card.input.width

    def fit(self, frames: Sequence[DeviceFrame | np.ndarray]) -> list[Letterbox]:
        """How frames lie in the model's input."""
        sizes = (f.wh if isinstance(f, DeviceFrame) else (f.shape[1], f.shape[0]) for f in frames)
        return [Letterbox(wh, self.input_hw) for wh in sizes]

    def letterbox(self, frame: np.ndarray, image: np.ndarray) -> Letterbox:
        """Writes a checked frame into one image of the input buffer, (h, w, 3) uint8."""
        (letterbox,) = self.fit([frame])
        letterbox.apply(frame, image, self._card.input.pad_value)
        return letterbox

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs letterboxed images (B, h, w, 3) uint8."""
        return self.backend.run(self._as_input(images), self.keep, self._outputs)

    def prefers_gpu_letterbox(self, frames: Sequence[np.ndarray]) -> bool:
        """Whether checked frames go to `run_frames`, to be letterboxed on the GPU."""
        return isinstance(self.backend, DeviceFrameBackend) and self.backend.prefers_gpu_letterbox(frames)

    def run_frames(self, frames: Sequence[DeviceFrame | np.ndarray]) -> tuple[list[Letterbox], dict[str, np.ndarray]]:
        """Runs frames that are letterboxed on the GPU; returns their letterboxes with the outputs.

        Args:
            frames: on the GPU, or checked frames of the processor.

        Raises:
            FrameError: the backend takes letterboxed images of the processor only.
        """
        if not isinstance(self.backend, DeviceFrameBackend):
            raise FrameError(
                f"the frame is on the GPU, and backend {self.backend.name} takes frames of the processor; load the "
                'model with backend="tensorrt", or copy the frame to a numpy array'
            )
        letterboxes = self.fit(frames)
        return letterboxes, self.backend.run_frames(frames, letterboxes, self.keep, self._outputs)

    @contextmanager
    def queue(self) -> Iterator[JobQueue | None]:
        """Runs that overlap; None from a backend that does one at a time."""
        if not isinstance(self.backend, QueuedBackend):
            yield None
            return
        with self.backend.queue() as queue:
            yield JobQueue(
                lambda images: queue.submit(self._as_input(images), self.keep, self._outputs),
                lambda frames: queue.submit_frames(frames, self.fit(frames), self.keep, self._outputs),
                queue.collect,
            )

    def measure(self, images: np.ndarray) -> StageTimes:
        """Runs as `run` on a `MeasuredBackend`, and returns where the time went."""
        return self.backend.measure(self._as_input(images), self.keep, self._outputs)

    def layers(self, images: np.ndarray) -> list[tuple[str, float]]:
        """Runs as `run` on a `LayeredBackend`, and returns name and milliseconds of each layer."""
        return self.backend.layers(self._as_input(images), self.keep)

    def _as_input(self, images: np.ndarray) -> np.ndarray:
        card = self._card.input
        if card.layout != "normalized":
            return images
        rgb = images[..., ::-1].astype(np.float32)
        return ((rgb - np.float32(card.mean)) / np.float32(card.std)).transpose(0, 3, 1, 2)  # (B, 3, h, w)

    def result(
        self,
        outputs: dict[str, np.ndarray],
        sample: int,
        letterbox: Letterbox,
        frame: np.ndarray | None,
        timings: dict[str, float],
        **about: int,
    ) -> Result:
        """Decodes one sample of a run.

        Args:
            outputs: of `run`.
            sample: position in the batch.
            letterbox: of the frame.
            frame: kept in the result; None when it is on the GPU.
            timings: of the earlier stages.
            about: `frame_index`, `timestamp_ns`, `dropped` of the result.
        """
        start = time.perf_counter()
        task, names = self._card.task, self._card.class_names
        if task == "segmentation":
            label_map = letterbox.map_to_frame(outputs["labels"][sample])
            kind, answer = Segmentation, {"label_map": label_map, "palette": self._palette, "names": names}
        elif task == "detection":
            kind, answer = Detections, {**self._decode_boxes(outputs, sample, letterbox), "names": names}
        else:
            kind, answer = Features, {"maps": tuple(outputs[name][sample] for name in self._answers)}
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
        depths = self._card.windows.depths
        if self._fixed is None:
            return dense_keep(self._stages) if sparsity is None else Plan.parse(sparsity, depths).keep(self._stages)
        if sparsity is not None and Plan.parse(sparsity, depths) != self._fixed:
            raise PlanError(
                f"{self._card.name} is a fixed export with the ratios {self._fixed.ratios}, asked for {sparsity!r}; "
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
