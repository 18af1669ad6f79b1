"""What evaluating a model says, and what counts towards it; each task adds its own figures."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from sparsevit_runtime import Result
from sparsevit_runtime.card import MetricCard

from ..datasets import Sample

#: Version of the dictionaries `Evaluation.to_dict` returns.
EVALUATION_SCHEMA = 3

_Result = TypeVar("_Result", bound=Result)


@dataclass(frozen=True, kw_only=True)
class Evaluation(ABC):
    """Accuracy at one plan.

    Attributes:
        model: its name.
        dataset: its name.
        plan: plan as asked for, as text.
        ratio: mean share of windows pruned over the blocks; the uniform ratio when the plan is one.
        uniform: every block has that ratio.
        images: number of frames measured.
        classes: names.
        inference_ms: median time of the graph per frame; NaN where nobody measured it.
        total_ms: median time per frame from letterbox to answer; NaN likewise.
    """

    model: str
    dataset: str
    plan: str
    ratio: float
    uniform: bool
    images: int
    classes: tuple[str, ...]
    inference_ms: float
    total_ms: float

    #: Figures that go into a model's card.
    recorded: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def score(self) -> float:
        """The primary metric, 0..1; NaN when nothing could be counted."""

    @property
    @abstractmethod
    def figures(self) -> dict[str, float]:
        """Names and values, 0..1, of the figures over all classes; the primary one first."""

    @property
    @abstractmethod
    def per_class(self) -> tuple[float, ...]:
        """The primary metric per class, 0..1; NaN for a class that does not occur."""

    @property
    def threshold(self) -> float | None:
        """Least score at which objects are found best, of a task that has scores."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What else there is to say, a sentence each."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; figures that do not exist are None."""
        return {
            "schema": EVALUATION_SCHEMA,
            "model": self.model,
            "dataset": self.dataset,
            "plan": self.plan,
            "ratio": round(self.ratio, 4),
            "images": self.images,
            **{metric_key(name): _plain(value) for name, value in self.figures.items()},
            "per_class": {c: _plain(v) for c, v in zip(self.classes, self.per_class, strict=True)},
            "inference_ms": _plain(self.inference_ms, 3),
            "total_ms": _plain(self.total_ms, 3),
        }

    def metrics(self) -> list[MetricCard]:
        """The figures as a model card records them, in percent; none of a plan that no single ratio describes."""
        if not self.uniform:
            return []
        return [
            MetricCard(
                name=name, dataset=self.dataset, ratio=round(self.ratio, 4), value=round(100 * value, 2), unit="%"
            )
            for name, value in self.figures.items()
            if name in self.recorded and not math.isnan(value)
        ]


class Tally(ABC, Generic[_Result]):
    """Counts over the frames of one plan."""

    @abstractmethod
    def add(self, index: int, sample: Sample, result: _Result) -> None:
        """Counts one frame.

        Args:
            index: index of the sample in its data set.
            sample: the frame and its truth.
            result: answer of the model.
        """

    @abstractmethod
    def evaluation(self, **about: Any) -> Evaluation:
        """What the counts come to.

        Args:
            about: the fields of `Evaluation`.
        """


class RecordTally(Tally[_Result]):
    """Counts objects, as records in COCO's results format.

    Attributes:
        masked: records have masks.
        records: records so far, over the ids of the data's `document`.
    """

    masked: ClassVar[bool] = False

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []


def metric_key(name: str) -> str:
    """A metric's name as keys of JSON and columns of logs have it."""
    return name.lower().replace(" ", "_")


def _plain(value: float, digits: int = 5) -> float | None:
    return None if math.isnan(value) else round(value, digits)
