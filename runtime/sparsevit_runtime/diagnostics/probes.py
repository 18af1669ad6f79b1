"""What is run to compare: probe images, and batches a backend takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..backends import Backend
from ..contract import feeds_of, zero_inputs
from ..images.probe import probe_image
from ..runner import Runner

if TYPE_CHECKING:
    from ..tensorrt import EngineCard

#: Images in the largest batch compared; more would only take longer.
MOST_IMAGES = 4


def probe_batch(runner: Runner, seeds: Iterable[int]) -> np.ndarray:
    """Probe images as the graph takes them, one per seed: (B, H, W, 3) uint8, or (B, 3, H, W) float32 normalised."""
    return runner.as_input(np.stack([probe_image(*runner.input_hw, seed) for seed in seeds]))


def probe_feeds(backend: Backend, images: np.ndarray, keep: np.ndarray | None) -> dict[str, np.ndarray]:
    """Inputs of a run of `probe_batch`; what belongs to a frame beside its pixels is zero.

    Args:
        backend: backend that runs the graph.
        images: images as the graph takes them.
        keep: (pairs,) windows computed per block pair; None for a fixed export.
    """
    return {**feeds_of(images, keep), **zero_inputs(backend.contract, len(images))}


def engine_card(backend: Backend) -> EngineCard | None:
    """Of the engine that a backend runs; None where it runs a model file."""
    card: EngineCard | None = getattr(backend, "engine_card", None)
    return card


def batch_sizes(backend: Backend) -> tuple[int, int]:
    """The least batch that a backend takes, and one to compare with beside it."""
    least, most = backend.batches
    return least, 2 if most is None else min(most, max(least, MOST_IMAGES))
