"""What the training package asks of a task: to be measured, and to be trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import Progress

from ..datasets import Dataset, LearnedFrom
from ..datasets.layout import Split
from .evaluation import Tally

if TYPE_CHECKING:
    from ..objectives.base import Objective
    from ..recipe import Recipe


class Task(ABC):
    """A task whose models are measured on labelled data.

    A new task is a subclass in a file of its own, and `tasks.register`; one that is trained here, too, is a
    `TrainedTask`.

    Attributes:
        name: name as model cards say it.
        metric: name of the figure that decides, as a model card has it.
        least_score: objects of a lower score are not asked for; tasks without scores ignore it.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    least_score: ClassVar[float] = 0.0

    @abstractmethod
    def open_evaluation_data(
        self, root: Path, class_names: Sequence[str], split: Split, cache_mb: int, progress: Progress
    ) -> Dataset:
        """Opens what a model of these classes is measured on; see `evaluation_data.open_evaluation_data`."""

    @abstractmethod
    def tally(self, model: str, dataset: Dataset) -> Tally[Any]:
        """Counts of one plan, all at nothing.

        Args:
            model: its name, for messages.
            dataset: data that it is measured on.

        Raises:
            DatasetError: the data has no truth of this task; see `mismatch`.
        """

    def mismatch(self, model: str, dataset: Dataset, needed: str) -> DatasetError:
        """The error of data without the truth needed, such as "boxes in COCO JSON"."""
        return DatasetError(f"{model} is a model for {self.name} and needs {needed}; {dataset.name} has none")


class TrainedTask(Task):
    """A task that recipes can name.

    Attributes:
        learns_from: what it takes from COCO JSON: boxes, the masks of each object, or a map that all are drawn into.
        weighs_pixels: its loss says how much every pixel counts (`Objective.pixel_weights`).
        watches_agreement: a run can watch how far pruned passes agree with dense ones (`Objective.agreement`).
        tunes_classes: biases of its classes can be tuned at the end (`Objective.class_bias`).
        heads: names of the heads that it can be trained with, as recipes give them.
    """

    learns_from: ClassVar[LearnedFrom] = "boxes"
    weighs_pixels: ClassVar[bool] = False
    watches_agreement: ClassVar[bool] = False
    tunes_classes: ClassVar[bool] = False
    heads: ClassVar[tuple[str, ...]] = ("pyramid",)

    def check_recipe(self, recipe: Recipe) -> None:
        """Raises RecipeError where a valid recipe does not suit this task; the message names the key."""

    @abstractmethod
    def objective(self, recipe: Recipe) -> Objective:
        """Views, loss and scores of a run. Imports PyTorch, which measuring does without."""
