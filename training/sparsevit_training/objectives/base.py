"""What the training loop asks of a task."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from sparsevit_exporter.backbone import SparseViT
from sparsevit_runtime.errors import DatasetError

from ..batch import Batch
from ..datasets import ClassInfo, Dataset, Sample
from ..models import TrainedModel
from ..recipe import Recipe
from ..recipe_parts import ClassBiasRecipe

log = logging.getLogger(__name__)


class Draw(Protocol):
    """Draws a random sample of the recipe's data."""

    def __call__(self, labelled_only: bool = False) -> Sample: ...


class Objective(ABC):
    """Views, loss and scores of one run; `TrainedTask.objective` makes it.

    Args:
        recipe: recipe of the run.

    Attributes:
        network: class of the whole network.
        terms: names of the loss terms that `losses` returns.
    """

    network: type[TrainedModel]
    terms: ClassVar[tuple[str, ...]]

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    @abstractmethod
    def view(self, draw: Draw, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        """One training view (h, w, 3) uint8 BGR before colour jitter, and its truth."""

    @abstractmethod
    def collate(self, truths: Sequence[Any]) -> Any:
        """The truths of a batch, as `losses` takes them."""

    @abstractmethod
    def check(self, dataset: Dataset) -> None:
        """Raises DatasetError where labelled data has another task's labels."""

    def prepare(self, datasets: Sequence[Dataset], classes: Sequence[ClassInfo], device: torch.device) -> None:
        """Called once the data is open, before the first loss."""
        self.device = device

    def build(self, backbone: SparseViT, num_classes: int) -> TrainedModel:
        """The network of the recipe, its head with fresh weights."""
        return self.network(backbone, num_classes, self.recipe.model.head_channels)

    def grow(self, model: TrainedModel, classes: Sequence[ClassInfo], batches: Iterable[Batch]) -> None:  # noqa: B027
        """Called once before training from a pretrained front: fills what stands behind it, where the task can.

        Args:
            model: its front has its weights.
            classes: classes of the data.
            batches: the first batches of the run, on the CPU.
        """

    def predict(self, model: Any, maps: Sequence[Tensor]) -> Any:
        """What the model's head says in training of the maps of its backbone."""
        return model.head(maps)

    def answer(self, model: Any, images: Tensor) -> Any:
        """A dense forward pass of the whole network, as `match_dense` compares with it."""
        return model(images)

    @abstractmethod
    def losses(self, predictions: Any, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, weighted so that their sum is the loss, scalar float32 each."""

    def pixel_weights(self, batch: Batch) -> Tensor:
        """(B, H, W) float32 on the device: how much each pixel counts in the loss, where the task weighs pixels."""
        raise NotImplementedError

    def class_bias(
        self, model: TrainedModel, datasets: Sequence[Dataset], settings: ClassBiasRecipe, dtype: torch.dtype | None
    ) -> Tensor:
        """(K,) float32, what the classes' scores shall be raised by, where the task weighs pixels; see `class_bias`."""
        raise NotImplementedError

    @abstractmethod
    def match_dense(self, predictions: Any, dense: Any) -> Tensor:
        """Distance of a pruned pass, as `predict` returned it, to what `answer` returned; scalar float32, 0 at best."""

    @abstractmethod
    def scores(
        self,
        model: TrainedModel,
        dataset: Dataset,
        ratios: Sequence[float],
        dtype: torch.dtype | None,
    ) -> dict[float, float]:
        """The task's metric, 0..1, per uniform ratio, along the deployed path."""

    def agreement(
        self, model: TrainedModel, dataset: Dataset, ratios: Sequence[float], dtype: torch.dtype | None
    ) -> dict[float, float]:
        """How far each ratio says what a dense pass says, 0..1, whether it is right or not, of a task that can tell."""
        raise NotImplementedError


def check_objects(datasets: Sequence[Dataset], classes: Sequence[ClassInfo]) -> None:
    """Warns of classes that no image of the labelled data has; raises DatasetError where that is all of them."""
    labelled = [d for d in datasets if d.classes]
    absent = [c.name for c in classes if all(c.name in d.absent for d in labelled)]
    if len(absent) == len(classes):
        raise DatasetError(f"no image of the data has an object of {', '.join(absent)}: there is nothing to learn")
    if absent:
        log.warning("not learned, for no image of the data has it: %s", ", ".join(absent))
