"""The backbone alone: feature maps, for a model without a head."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..contract import BATCH, TensorSpec
from ..images.placement import Placement
from .base import Task
from .results import Result, expect, expect_size


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class Features(Result):
    """The backbone's maps, for a model without a head. `save` writes .npz (`stage0`, `stage1`, ...) and .json.

    Attributes:
        maps: one map per stage, (C, h, w) float32, over the letterboxed input.
    """

    maps: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        expect_size(self.image_wh)
        for i, m in enumerate(self.maps):
            expect(f"map {i}", m, (None, None, None), np.float32)

    def to_dict(self) -> dict[str, Any]:
        """The common head and `maps`: the shape of each map."""
        return {**self._head(BackboneTask.name), "maps": [list(m.shape) for m in self.maps]}

    def _told(self) -> Sequence[str]:
        return ["maps of " + ", ".join("x".join(map(str, m.shape)) for m in self.maps)]

    def _what(self) -> str:
        return "feature maps"

    def _formats(self) -> dict[str, Callable[[], bytes]]:
        return {".npz": self._npz, **super(Features, self)._formats()}

    def _npz(self) -> bytes:
        data = io.BytesIO()
        arrays: dict[str, Any] = {f"stage{i}": m for i, m in enumerate(self.maps)}
        np.savez(data, **arrays)
        return data.getvalue()


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

    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Placement, threshold: float) -> dict[str, Any]:
        return {"maps": tuple(answers[spec.name] for spec in self.answers)}
