"""Classification, as what runs on the device knows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sparsevit_runtime.contract import BATCH, TensorSpec
from sparsevit_runtime.images.letterbox import Letterbox
from sparsevit_runtime.tasks import Task
from sparsevit_runtime.tasks.results import Legend, Result


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Classification(Result):
    """The likeliest class of a frame."""

    kind: str
    color: tuple[int, int, int]
    score: float

    def to_dict(self) -> dict[str, Any]:
        return {**self._head("classification"), "kind": self.kind, "score": self.score}

    def save(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps(self.to_dict()))

    def draw_answer(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        return cv2.rectangle(image.copy(), (0, 0), (width - 1, height - 1), self.color[::-1], 4)

    def legend(self) -> Legend:
        return [(f"{self.kind} {self.score:.2f}", self.color)]


class ClassificationTask(Task):
    name = "classification"
    result_type = Classification

    @property
    def answers(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec.of("scores", np.float32, BATCH, len(self.card.classes)),)

    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Letterbox, threshold: float) -> dict[str, Any]:
        best = int(answers["scores"].argmax())
        found = self.card.classes[best]
        return {"kind": found.name, "color": found.color, "score": float(answers["scores"][best])}
