"""What a backend is: something that runs one model file on arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ..card import ModelCard
from ..contract import IMAGE, GraphContract
from ..errors import BackendError, FrameError
from ..images.device_frames import DeviceFrame
from ..images.placement import Placement
from ..stage_times import StageTimes
from ..tasks import Task, task_of

#: Arrays by the name of the graph's input.
Feeds = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class DeviceInfo:
    """What a backend runs on.

    Attributes:
        kind: kind of device that computes the graph's products.
        name: name as its driver says; empty for a CPU.
        compute_capability: compute capability of a GPU, such as ``8.7``; empty where it is not known.
        integrated: the GPU shares the host's memory, as on a Jetson: nothing is copied.
    """

    kind: Literal["cpu", "cuda"]
    name: str = ""
    compute_capability: str = ""
    integrated: bool = False

    @property
    def copies(self) -> bool:
        """Whether a run copies its arrays to the device and back."""
        return self.kind == "cuda" and not self.integrated

    def __str__(self) -> str:
        if not self.name:
            return self.kind
        return f"{self.name}, compute capability {self.compute_capability}" if self.compute_capability else self.name


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do beyond `run`, resolved when the model is loaded.

    Attributes:
        queue: runs overlap (`Backend.queue`).
        device_frames: frames are letterboxed on the GPU (`Backend.run_frames`).
        measure: times of a run, measured on the device (`Backend.measure`).
        layers: times of single layers (`Backend.layers`).
    """

    queue: bool = False
    device_frames: bool = False
    measure: bool = False
    layers: bool = False


class Backend(ABC):
    """A loaded model. Implementations state in their docstring which calls may overlap.

    The public calls check what they are given, and that the backend is open; the hooks below them only run.

    Attributes:
        name: name of the kind of backend, e.g. ``onnxruntime``.
        path: path of the file.
        card: card of the file.
        task: task of the card.
        contract: contract of the graph.
        output_names: names of what the graph can return.
        batches: least and most frames of a run; None for no limit.
        device: device in use.
        capabilities: calls it answers beyond `run`.
    """

    name: ClassVar[str]

    def __init__(
        self,
        path: Path,
        card: ModelCard,
        output_names: Sequence[str],
        device: DeviceInfo,
        capabilities: Capabilities,
        batches: tuple[int, int | None] = (1, None),
    ) -> None:
        """Raises CardError when the card's task is not known."""
        self.path = path
        self.card = card
        self.task: Task = task_of(card)
        self.contract: GraphContract = self.task.contract
        self.output_names = tuple(output_names)
        self.device = device
        self.capabilities = capabilities
        self.batches = batches
        self._closed = False

    @property
    @abstractmethod
    def details(self) -> dict[str, str]:
        """Library version, device and settings actually in use, for people to read."""

    def run(self, feeds: Feeds, outputs: Sequence[str]) -> Outputs:
        """Runs the graph once.

        Args:
            feeds: arrays as `contract` says; `keep` may be left out for all windows, and always is for a fixed export.
            outputs: names among `output_names`; only these are fetched.

        Returns:
            New arrays by name; the caller may keep them.

        Raises:
            FrameError: an input is missing, or has another shape or type.
            PlanError: `keep` does not fit the model.
            BackendError: an unknown input or output, a batch that does not fit, the run failed, or `close` was called.
        """
        return self._run(*self._checked(feeds, outputs))

    def run_frames(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        letterboxes: Sequence[Placement],
        feeds: Feeds,
        outputs: Sequence[str],
    ) -> Outputs:
        """Letterboxes on the GPU, bit-equal to `Letterbox.apply`, and runs as `run` does.

        Args:
            frames: frames of any sizes, not empty; those of the host as `images.frames.check_frame` returns them.
            letterboxes: one of each.
            feeds: the inputs beside `image`.
            outputs: names as in `run`.

        Raises:
            FrameError: the backend takes images of the host only, the model takes normalised images, or a frame is on
                another GPU.
            PlanError, BackendError: as `run`.
        """
        return self._run_frames(frames, letterboxes, *self._checked_beside(frames, feeds, outputs))

    def prepare(self, keeps: Sequence[np.ndarray | None], batch: int = 1) -> None:
        """Makes runs ready, so that the first of each kind costs no more than any other; does nothing where a backend
        has nothing to make. What there is no room for stays as it is.

        Args:
            keeps: windows per block pair, (pairs,) int64 each; None for all, and always of a fixed export.
            batch: frames of a run.

        Raises:
            PlanError: one does not fit the model.
            BackendError: the batch does not fit, something failed on the device, or `close` was called.
        """
        self._check_open()
        self._check_batch(batch)
        self._prepare([self.contract.check_keep(keep, self.path.name) for keep in keeps], batch)

    def prefers_gpu_letterbox(self, frames: Sequence[np.ndarray]) -> bool:
        """Whether frames of the host, (H, W, 3) uint8, are better sent to the GPU whole and letterboxed there.

        Raises BackendError when the backend is closed.
        """
        self._check_open()
        return self.capabilities.device_frames and self._prefers_gpu_letterbox(frames)

    @contextmanager
    def queue(self) -> Iterator[RunQueue]:
        """Runs of one caller, two of them in flight; leaving it waits for what is in flight.

        Raises:
            BackendError: runs of this backend do not overlap, or it is closed.
        """
        self._check_open()
        with self._queue() as hooks:
            yield RunQueue(self, hooks)

    def measure(self, feeds: Feeds, outputs: Sequence[str]) -> StageTimes:
        """Runs once as `run` does, and returns its times instead of its arrays.

        Raises:
            BackendError: this backend cannot tell. FrameError, PlanError, BackendError: as `run`.
        """
        return self._measure(*self._checked(feeds, outputs))

    def layers(self, feeds: Feeds) -> list[tuple[str, float]]:
        """Runs once with a profiler, slower than `run`.

        Returns:
            Name and milliseconds of each layer, in the order they ran. Names say parts as
            `graph.parts.part_of_layer` reads them, where the backend knows.

        Raises:
            BackendError: this backend cannot tell. FrameError, PlanError, BackendError: as `run`.
        """
        return self._layers(self._checked(feeds, ())[0])

    def close(self) -> None:
        """Releases the model. Safe to repeat; every other call raises BackendError afterwards."""
        if not self._closed:
            self._closed = True
            self._close()

    @abstractmethod
    def _run(self, feeds: dict[str, np.ndarray], outputs: tuple[str, ...]) -> Outputs: ...

    @abstractmethod
    def _close(self) -> None: ...

    def _prepare(self, keeps: Sequence[np.ndarray | None], batch: int) -> None:
        """Nothing to make ready."""
        return

    def _run_frames(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        letterboxes: Sequence[Placement],
        feeds: dict[str, np.ndarray],
        outputs: tuple[str, ...],
    ) -> Outputs:
        raise FrameError(
            f"the frame is on the GPU, and backend {self.name} takes frames of the host; load the model with "
            'backend="tensorrt", or copy the frame to a numpy array'
        )

    def _prefers_gpu_letterbox(self, frames: Sequence[np.ndarray]) -> bool:
        return False

    def _queue(self) -> Any:
        raise BackendError(f"runs of backend {self.name} do not overlap; call `run`")

    def _measure(self, feeds: dict[str, np.ndarray], outputs: tuple[str, ...]) -> StageTimes:
        raise BackendError(f"backend {self.name} cannot say where the time of a run goes; time `run` from outside")

    def _layers(self, feeds: dict[str, np.ndarray]) -> list[tuple[str, float]]:
        raise BackendError(f"backend {self.name} cannot time single layers")

    def _checked(self, feeds: Feeds, outputs: Sequence[str]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        self._check_open()
        checked = self.contract.check_feeds(feeds, self.path.name)
        self._check_batch(len(checked[IMAGE]))
        return checked, self.contract.check_outputs(outputs, self.output_names, self.path.name)

    def _checked_beside(
        self, frames: Sequence[object], feeds: Feeds, outputs: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        self._check_open()
        self._check_batch(len(frames))
        checked = self.contract.check_inputs(feeds, self.path.name, with_image=False, batch=len(frames))
        return checked, self.contract.check_outputs(outputs, self.output_names, self.path.name)

    def _check_batch(self, batch: int) -> None:
        least, most = self.batches
        if batch < least or (most is not None and batch > most):
            raise BackendError(f"{batch} frames at once; {self.path.name} takes {least} to {most}")

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError(f"{self.path.name} is closed; load the model again")


class QueueHooks(ABC):
    """What a backend does for a `RunQueue`; everything it is given was checked."""

    @abstractmethod
    def submit(self, feeds: dict[str, np.ndarray], outputs: tuple[str, ...]) -> Any: ...

    @abstractmethod
    def submit_frames(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        letterboxes: Sequence[Placement],
        feeds: dict[str, np.ndarray],
        outputs: tuple[str, ...],
    ) -> Any: ...

    @abstractmethod
    def collect(self, ticket: Any) -> Outputs: ...


class RunQueue:
    """Runs of one caller, two of them in flight: while one computes, the next is uploaded or the last one downloaded.

    Threads: one at a time.
    """

    def __init__(self, backend: Backend, hooks: QueueHooks) -> None:
        self._backend, self._hooks = backend, hooks

    def submit(self, feeds: Feeds, outputs: Sequence[str]) -> Any:
        """Starts a run, as `Backend.run`; the arrays are free again when this returns.

        Returns:
            A ticket for `collect`.

        Raises:
            BackendError: two are in flight already. FrameError, PlanError, BackendError: as `Backend.run`.
        """
        return self._hooks.submit(*self._backend._checked(feeds, outputs))

    def submit_frames(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        letterboxes: Sequence[Placement],
        feeds: Feeds,
        outputs: Sequence[str],
    ) -> Any:
        """The same for `Backend.run_frames`."""
        checked = self._backend._checked_beside(frames, feeds, outputs)
        return self._hooks.submit_frames(frames, letterboxes, *checked)

    def collect(self, ticket: Any) -> Outputs:
        """Waits for a run, the oldest first. Returns and raises as `Backend.run`."""
        return self._hooks.collect(ticket)
