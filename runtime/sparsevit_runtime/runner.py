"""One way of running a model: from frames to results. Calls, batches and streams all go through it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .arguments import as_flag
from .backends.base import Backend, Outputs, RunQueue
from .card import ModelCard
from .contract import IMAGE, KEEP, TensorSpec, zero_inputs
from .errors import ArgumentError, FrameError
from .images.device_frames import DeviceFrame, is_device_frame, read_device_frame
from .images.frames import FrameLike, check_frame
from .images.placement import Placement
from .images.placing import place_frame
from .stage_times import StageTimes
from .tasks import Result, Timings
from .texts import shown
from .windows.activity import WindowActivity
from .windows.level import Level
from .windows.plan import PlanLike, number_of

#: Detections below this score are left out unless the card or the caller says otherwise.
DEFAULT_THRESHOLD = 0.25


@dataclass(frozen=True)
class Request:
    """What a caller wants of a frame; it travels with the frame, so that nothing that ran before matters.

    Attributes:
        level: share that is computed, as windows per block pair.
        activity: wish to be told which windows were computed.
        threshold: least score of a detection.
        outputs: names of what the graph returns.
        reason: reason for the level, where something other than a caller chose it.
    """

    level: Level
    activity: bool
    threshold: float
    outputs: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class PlacedFrame:
    """A checked frame, and how it lies in the model's input.

    Attributes:
        frame: (H, W, 3) uint8 BGR of the host, or on the GPU.
        letterbox: letterbox of the frame.
        on_gpu: True for one that goes to the GPU as it is, and is letterboxed there.
        inputs: arrays that came with the frame, (1, ...) each.
    """

    frame: DeviceFrame | np.ndarray
    letterbox: Placement
    on_gpu: bool
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def image(self) -> np.ndarray | None:
        """The frame when it is the host's."""
        return self.frame if isinstance(self.frame, np.ndarray) else None


class Runner:
    """Runs a loaded model on frames.

    Threads: holds no buffers; safe from several threads.

    Attributes:
        backend: backend that runs the graph.
        card, task, contract: those of the model.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.card, self.task, self.contract = backend.card, backend.task, backend.contract
        self._stages = self.card.stages
        self._answers = tuple(spec.name for spec in self.task.answers)
        self._orders = tuple(name for name in self.contract.orders if name in backend.output_names)

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the graph's input in pixels."""
        return self.card.input.height, self.card.input.width

    def level(self, sparsity: PlanLike | Level | None = None) -> Level:
        """The level that a sparsity is for this model; see `Level.resolve`.

        Raises:
            PlanError: it does not fit the model.
        """
        if isinstance(sparsity, Level):
            sparsity = sparsity.plan
        return Level.resolve(self.card, sparsity)

    def least_score(self, threshold: float | None = None) -> float:
        """What `least_score` makes of a threshold for this model."""
        return least_score(self.card, threshold)

    def request(self, level: Level, *, activity: bool = False, threshold: float | None = None) -> Request:
        """What a caller wants of a frame.

        Raises:
            ArgumentError: `threshold` is no number from 0 to 1, or `activity` no flag.
        """
        outputs = self._answers + (self._orders if activity else ())
        return Request(level, as_flag(activity, "activity"), self.least_score(threshold), outputs)

    def place(self, frame: FrameLike, inputs: Mapping[str, np.ndarray] | None = None) -> PlacedFrame:
        """Checks a frame.

        Args:
            frame: (H, W, 3) uint8 BGR of any size: a numpy array, or on the GPU with `__cuda_array_interface__`.
            inputs: arrays by name that the model takes with each frame beside its pixels, without a batch.

        Raises:
            FrameError: it is no frame, an input is missing or of another shape, or the backend takes frames of the
                host only.
        """
        extra = {spec.name: self._frame_input(spec, inputs or {}) for spec in self.contract.frame_inputs}
        if is_device_frame(frame):
            if not self.backend.capabilities.device_frames:
                raise FrameError(
                    f"the frame is on the GPU, and backend {self.backend.name} takes frames of the host; load the "
                    'model with backend="tensorrt", or copy the frame to a numpy array'
                )
            on_device = read_device_frame(frame)
            return PlacedFrame(on_device, place_frame(on_device.wh, self.card.input), True, extra)
        image = check_frame(frame)
        letterbox = place_frame((image.shape[1], image.shape[0]), self.card.input)
        return PlacedFrame(image, letterbox, self.backend.prefers_gpu_letterbox([image]), extra)

    def new_buffer(self, batch: int = 1) -> np.ndarray:
        """Images for `letterbox`, (B, h, w, 3) uint8."""
        return np.empty((batch, *self.input_hw, 3), np.uint8)

    def letterbox(self, placed: PlacedFrame, image: np.ndarray) -> None:
        """Writes a frame of the host into one image of a buffer, (h, w, 3) uint8."""
        if placed.image is None:
            raise FrameError("a frame on the GPU is letterboxed there; run it without images")
        placed.letterbox.apply(placed.image, image, self.card.input.pad_value)

    def run(self, placed: Sequence[PlacedFrame], images: np.ndarray | None, request: Request) -> Outputs:
        """Runs frames of one level.

        Args:
            placed: the frames. Where any goes to the GPU as it is, all do.
            images: all frames letterboxed, (B, h, w, 3) uint8; None where they go to the GPU.
            request: request for all of them.

        Raises:
            FrameError, BackendError: see `Backend.run` and `Backend.run_frames`.
        """
        feeds = self._feeds(placed, request)
        if images is None:
            return self.backend.run_frames(*_frames(placed), feeds, request.outputs)
        return self.backend.run({IMAGE: self.as_input(images), **feeds}, request.outputs)

    @contextmanager
    def queue(self) -> Iterator[RunnerQueue | None]:
        """Runs that overlap; None from a backend that does one at a time."""
        if not self.backend.capabilities.queue:
            yield None
            return
        with self.backend.queue() as queue:
            yield RunnerQueue(self, queue)

    def prepare(self, levels: Sequence[Level], batch: int = 1) -> None:
        """Makes runs of these levels ready, so that the first frame of each costs no more than any other; see
        `Backend.prepare`."""
        self.backend.prepare([level.keep for level in levels], batch)

    def measure(self, images: np.ndarray, request: Request) -> StageTimes:
        """Runs letterboxed images and returns where the time went, from a backend that can tell."""
        return self.backend.measure(self._plain_feeds(images, request), request.outputs)

    def layers(self, images: np.ndarray, request: Request) -> list[tuple[str, float]]:
        """Runs letterboxed images and returns name and milliseconds of each layer, from a backend that can tell."""
        return self.backend.layers(self._plain_feeds(images, request))

    def decode(
        self,
        outputs: Mapping[str, np.ndarray],
        sample: int,
        placed: PlacedFrame,
        request: Request,
        timings: Mapping[str, float],
        *,
        frame_index: int = 0,
        timestamp_ns: int = 0,
        dropped: int = 0,
        source: str = "",
        file: str = "",
        fps: float | None = None,
    ) -> Result:
        """What a run says about one of its frames.

        Args:
            outputs: arrays of `run`.
            sample: position in the batch.
            placed: the frame.
            request: request that it was run with.
            timings: milliseconds of the earlier stages, as `Timings` names them.
            frame_index, timestamp_ns, dropped, source, file, fps: see `Result`.
        """
        start = time.perf_counter()
        answers = {name: outputs[name][sample] for name in self._answers}
        decoded = self.task.decode(answers, placed.letterbox, request.threshold)
        activity = self._window_activity(outputs, sample, placed, request) if request.activity else None
        spent = Timings(**timings, postprocess_ms=(time.perf_counter() - start) * 1e3)
        return self.task.result_type(
            **decoded,
            image_wh=placed.letterbox.frame_wh,
            timings=spent,
            keep=request.level.kept,
            window_share=request.level.window_share,
            level_reason=request.reason,
            activity=activity,
            image=placed.image,
            frame_index=frame_index,
            timestamp_ns=timestamp_ns,
            dropped=dropped,
            source=source,
            file=file,
            fps=fps,
        )

    def as_input(self, images: np.ndarray) -> np.ndarray:
        """Letterboxed images (B, h, w, 3) uint8 BGR in the layout that the graph takes."""
        card = self.card.input
        if card.layout != "normalized":
            return images
        rgb = images[..., ::-1].astype(np.float32)
        mean, std = np.array(card.mean, np.float32), np.array(card.std, np.float32)
        return np.transpose((rgb - mean) / std, (0, 3, 1, 2))  # (B, 3, h, w)

    def _feeds(self, placed: Sequence[PlacedFrame], request: Request) -> dict[str, np.ndarray]:
        feeds = {
            spec.name: np.concatenate([each.inputs[spec.name] for each in placed])
            for spec in self.contract.frame_inputs
        }
        if request.level.keep is not None:
            feeds[KEEP] = request.level.keep
        return feeds

    def _plain_feeds(self, images: np.ndarray, request: Request) -> dict[str, np.ndarray]:
        """Of images that came from nowhere: what belongs to a frame beside them is nothing."""
        feeds = {IMAGE: self.as_input(images), **zero_inputs(self.contract, len(images))}
        if request.level.keep is not None:
            feeds[KEEP] = request.level.keep
        return feeds

    def _frame_input(self, spec: TensorSpec, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        if spec.name not in inputs:
            raise FrameError(
                f"{self.card.name} takes {spec.name!r} {_sizes(spec)} {spec.dtype} with each frame, and got none; pass "
                f"inputs={{{spec.name!r}: ...}}"
            )
        array = np.asarray(inputs[spec.name])
        if array.shape != _sizes(spec) or not np.can_cast(array.dtype, spec.dtype, "same_kind"):
            raise FrameError(f"{spec.name} must be {_sizes(spec)} {spec.dtype}, got {array.shape} {array.dtype}")
        return array.astype(spec.dtype)[None]

    def _window_activity(
        self, outputs: Mapping[str, np.ndarray], sample: int, placed: PlacedFrame, request: Request
    ) -> WindowActivity:
        orders = {name: outputs[name][sample] for name in self._orders}
        level = request.level
        fixed = level.plan if level.keep is None else None
        return WindowActivity.from_orders(orders, self._stages, placed.letterbox, keep=level.keep, fixed=fixed)


class RunnerQueue:
    """Runs of one caller, two of them in flight. Threads: one at a time."""

    def __init__(self, runner: Runner, queue: RunQueue) -> None:
        self._runner, self._queue = runner, queue

    def submit(self, placed: Sequence[PlacedFrame], images: np.ndarray | None, request: Request) -> Any:
        """Starts a run, as `Runner.run`; frames and images are free again when this returns.

        Returns:
            A ticket for `collect`.
        """
        feeds = self._runner._feeds(placed, request)
        if images is None:
            return self._queue.submit_frames(*_frames(placed), feeds, request.outputs)
        return self._queue.submit({IMAGE: self._runner.as_input(images), **feeds}, request.outputs)

    def collect(self, ticket: Any) -> Outputs:
        """Waits for a run, the oldest first. Returns and raises as `Runner.run`."""
        return self._queue.collect(ticket)


def least_score(card: ModelCard, threshold: float | None = None) -> float:
    """The least score of a detection: what the caller says, else what the card says, else `DEFAULT_THRESHOLD`.

    Raises:
        ArgumentError: the caller's is no number from 0 to 1.
    """
    if threshold is not None:
        return check_share("threshold", threshold)
    return DEFAULT_THRESHOLD if card.objects.threshold is None else card.objects.threshold


def check_share(name: str, value: object) -> float:
    """A number from 0 to 1.

    Args:
        name: name of the argument, for the message.
        value: a number of any kind, also of NumPy, or the text of one.

    Raises:
        ArgumentError: it is none, or lies outside.
    """
    number = number_of(value)
    if number is None or not 0.0 <= number <= 1.0:  # NaN does not
        raise ArgumentError(f"{name} is {shown(value)}; give a number from 0 to 1")
    return number


def _frames(placed: Sequence[PlacedFrame]) -> tuple[list[DeviceFrame | np.ndarray], list[Placement]]:
    return [each.frame for each in placed], [each.letterbox for each in placed]


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    """Of one frame's, without the batch."""
    return tuple(int(size) for size in spec.shape[1:])
