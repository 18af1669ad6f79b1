"""What is run to compare: probe images, and batches a backend takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..backends import Backend
from ..card import InputCard
from ..images.probe import probe_image

if TYPE_CHECKING:
    from ..tensorrt import EngineCard

#: Images in the largest batch compared; more would only take longer.
MOST_IMAGES = 4


def probe_batch(card: InputCard, seeds: Iterable[int]) -> np.ndarray:
    """Probe images as the graph takes them, one per seed: (B, H, W, 3) uint8, or (B, 3, H, W) float32 normalised."""
    images = np.stack([probe_image(card.height, card.width, seed) for seed in seeds])
    if card.layout == "camera":
        return images
    rgb = images[..., ::-1].astype(np.float32)
    return ((rgb - np.float32(card.mean)) / np.float32(card.std)).transpose(0, 3, 1, 2)


def engine_card(backend: Backend) -> EngineCard | None:
    """Of the engine that a backend runs; None where it runs a model file."""
    card: EngineCard | None = getattr(backend, "engine_card", None)
    return card


def batch_sizes(backend: Backend) -> tuple[int, int]:
    """The least batch that a backend takes, and one to compare with beside it."""
    least, most = backend.batches
    return least, 2 if most is None else min(most, max(least, MOST_IMAGES))
