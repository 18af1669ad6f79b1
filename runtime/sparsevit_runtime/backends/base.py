"""What a backend is: something that runs one model file on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..card import ModelCard


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
