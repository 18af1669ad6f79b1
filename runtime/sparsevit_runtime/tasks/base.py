"""What a task is: what its graph answers, and what that says about a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..agreement import Limits, TensorAgreement, compare_values
from ..contract import GraphContract, TensorSpec
from ..images.placement import Placement
from .columns import Column
from .results import Result

if TYPE_CHECKING:
    from ..card import ModelCard


class Task(ABC):
    """A task of one model.

    A new task is a subclass in a file of its own with its `Result`, and `tasks.register`.

    Threads: safe; holds nothing but what the card says.

    Attributes:
        name: name as model cards say it.
        result_type: class of its results, which say how they are drawn and saved.
        least_classes: fewest classes that its answers mean anything with.
        most_classes: most classes that its answers can tell apart.
        columns: columns of its answers in a table with a row for each frame, as `Result.columns` fills them; empty
            where a table has no form for them.
        card: card of the model.
    """

    name: ClassVar[str]
    result_type: ClassVar[type[Result]]
    least_classes: ClassVar[int] = 0
    most_classes: ClassVar[int] = 65536
    columns: ClassVar[tuple[Column, ...]] = ()

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    @property
    def contract(self) -> GraphContract:
        """Inputs and outputs of the model's graph."""
        return GraphContract.of(self.card, self.answers)

    @property
    @abstractmethod
    def answers(self) -> tuple[TensorSpec, ...]:
        """Outputs of the graph that answer the task; beside them it has the window orders."""

    @abstractmethod
    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Placement, threshold: float) -> dict[str, Any]:
        """What a run says about one frame.

        Args:
            answers: one sample of each of `answers`, by name.
            letterbox: letterbox of the frame.
            threshold: least score; tasks without scores ignore it.

        Returns:
            The fields of `result_type` beyond those of `Result`.
        """

    def agreement(
        self, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], limits: Limits
    ) -> list[TensorAgreement]:
        """Do the answers of two runs agree? Each by itself, as its type is compared, unless a task knows better.

        Args:
            ours: arrays by name, (B, ...) each: what is checked.
            theirs: arrays that it should be; answers that it does not have are not compared.
            limits: limits of what is accepted.
        """
        names = [spec.name for spec in self.answers if spec.name in theirs]
        return [compare_values(name, ours[name], theirs[name], limits) for name in names]
