"""What a backend is: something that runs one model file on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..card import ModelCard
from ..images.device_frames import DeviceFrame
from ..images.letterbox import Letterbox


class Backend(Protocol):
    """A loaded model. Implementations state in their docstring which calls may overlap.

    Attributes:
        name: registry name, e.g. ``onnxruntime``.
        card: of the file.
        output_names: what the graph can return.
        details: library version, processor and thread count actually in use, for reports.
    """

    name: str
    card: ModelCard
    output_names: tuple[str, ...]
    details: dict[str, str]

    def run(self, images: np.ndarray, keep: np.ndarray | None, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Runs the graph once.

        Args:
            images: (B, H, W, 3) uint8 BGR for a card of layout ``camera``, (B, 3, H, W) float32 for ``normalized``.
            keep: (pairs,) integers, windows computed per block pair; None for all windows, and always None for a fixed
                export.
            outputs: names among `output_names`; only these are fetched.

        Returns:
            New arrays by name; the caller may keep them.

        Raises:
            FrameError: `images` has another shape or type.
            PlanError: `keep` does not fit the model.
            BackendError: an unknown output, or the run failed.
        """

    def close(self) -> None:
        """Releases the model. Safe to repeat; `run` raises BackendError afterwards."""


def copies_arrays(backend: Backend) -> bool:
    """Whether a run copies its arrays to a GPU and back.

    A backend that can tell has an attribute `copies`: a GPU that shares the processor's memory copies nothing. Of the
    others the kind of processor in `details` decides.
    """
    return getattr(backend, "copies", backend.details.get("processor") == "cuda")


@dataclass(frozen=True)
class StageTimes:
    """Where the time of one run went.

    Attributes:
        h2d_ms: copies to the device, between events on the stream.
        compute_ms: the engine, between events on the stream.
        d2h_ms: copies of the outputs asked for, between events on the stream.
        enqueue_ms: the host's time until everything was queued.
        total_ms: the host's time from the call to the arrays being there.
    """

    h2d_ms: float
    compute_ms: float
    d2h_ms: float
    enqueue_ms: float
    total_ms: float


@runtime_checkable
class LayeredBackend(Backend, Protocol):
    """A backend that can time single layers."""

    def layers(self, images: np.ndarray, keep: np.ndarray | None) -> list[tuple[str, float]]:
        """Runs once with a profiler, slower than `run`.

        Returns:
            Name and milliseconds of each layer, in the order they ran. Names say parts as `parts.part_of_layer` reads
            them, where the backend knows.

        Raises:
            FrameError, PlanError, BackendError: as `run`.
        """


@runtime_checkable
class MeasuredBackend(LayeredBackend, Protocol):
    """A backend that can say where its time goes, measured on the device itself."""

    def measure(self, images: np.ndarray, keep: np.ndarray | None, outputs: Sequence[str]) -> StageTimes:
        """Runs once as `run` does, and returns its times instead of its arrays. Raises as `run` does."""


class RunQueue(Protocol):
    """Runs of one caller, two of them in flight: while one computes, the next is uploaded or the last one downloaded.

    Threads: one at a time.
    """

    def submit(self, images: np.ndarray, keep: np.ndarray | None, outputs: Sequence[str]) -> Any:
        """Starts a run, as `Backend.run`; `images` is free again when this returns.

        Returns:
            A ticket for `collect`.

        Raises:
            BackendError: two are in flight already. FrameError, PlanError, BackendError as `Backend.run`.
        """

    def submit_frames(
        self,
        frames: Sequence[np.ndarray],
        letterboxes: Sequence[Letterbox],
        keep: np.ndarray | None,
        outputs: Sequence[str],
    ) -> Any:
        """The same for frames that `DeviceFrameBackend.prefers_gpu_letterbox`; asked of no other backend."""

    def collect(self, ticket: Any) -> dict[str, np.ndarray]:
        """Waits for a run, the oldest first. Returns and raises as `Backend.run`."""


@runtime_checkable
class QueuedBackend(Backend, Protocol):
    """A backend whose runs overlap."""

    def queue(self) -> AbstractContextManager[RunQueue]:
        """A queue for one caller; leaving it waits for what is in flight."""


@runtime_checkable
class DeviceFrameBackend(Backend, Protocol):
    """A backend that letterboxes on the GPU: frames that are there already, without bringing them to the processor,
    and frames of the processor that are better sent whole."""

    def prefers_gpu_letterbox(self, frames: Sequence[np.ndarray]) -> bool:
        """Whether frames of the processor, (H, W, 3) uint8, are better letterboxed on the GPU."""

    def run_frames(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        letterboxes: Sequence[Letterbox],
        keep: np.ndarray | None,
        outputs: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """Letterboxes on the GPU, bit-equal to `Letterbox.apply`, and runs as `run` does.

        Args:
            frames: of any sizes, not empty; of the processor as `frames.check_frame` returns them.
            letterboxes: of each.

        Raises:
            FrameError: the model takes normalised images, or a frame is on another GPU. PlanError, BackendError as
                `run`.
        """
