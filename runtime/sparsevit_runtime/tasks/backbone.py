"""The backbone alone: feature maps, for a model without a head."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..contract import BATCH, TensorSpec
from ..files import write_atomic
from ..images.letterbox import Letterbox
from .base import Task
from .results import Result, expect_suffix


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Features(Result):
    """The backbone's maps, for a model without a head.

    Attributes:
        maps: per stage (C, h, w) float32, over the letterboxed input.
    """

    maps: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        for i, m in enumerate(self.maps):
            if m.ndim != 3 or m.dtype != np.float32:
                raise ValueError(f"map {i} must be (C, h, w) float32, got {m.shape} {m.dtype}")

    def to_dict(self) -> dict[str, Any]:
        """The common head and `maps`: the shape of each map."""
        return {**self._head(BackboneTask.name), "maps": [list(m.shape) for m in self.maps]}

    def save(self, path: str | Path) -> None:
        """Writes the maps as .npz, arrays `stage0`, `stage1`, ... Raises SinkError."""
        expect_suffix(path, ".npz", "feature maps")
        data = io.BytesIO()
        arrays: dict[str, Any] = {f"stage{i}": m for i, m in enumerate(self.maps)}
        np.savez(data, **arrays)
        write_atomic(path, data.getvalue())


class BackboneTask(Task):
    """See `Task`. The graph returns the normalised map of every stage."""

    name: ClassVar[str] = "backbone"
    result_type: ClassVar[type[Result]] = Features

    @property
    def answers(self) -> tuple[TensorSpec, ...]:
        channels = self.card.architecture.embed_dim
        return tuple(
            TensorSpec.of(f"stage{i}", np.float32, BATCH, channels << i, stage.height, stage.width)
            for i, stage in enumerate(self.card.stages)
        )

    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Letterbox, threshold: float) -> dict[str, Any]:
        return {"maps": tuple(answers[spec.name] for spec in self.answers)}
