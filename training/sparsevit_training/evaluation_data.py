"""Labelled data as a model needs it, found by the layout of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import SILENT, Progress

from .datasets import Dataset
from .datasets.layout import Split
from .tasks import measured_task


class Evaluated(Protocol):
    """What the data must suit: an open `Model`."""

    @property
    def task(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...


def open_evaluation_data(
    model: Evaluated,
    data: str | Path,
    split: Split = None,
    cache_mb: int = 0,
    progress: Progress = SILENT,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Opens the data that a model of this task and these classes is measured on.

    Segmentation takes folders in CamVid layout (`SemanticFolder`), whose classes that the model does not have are void,
    or the masks of COCO JSON (`CocoMasks`), the model's first class being the background. Detection takes COCO JSON
    (`CocoBoxes`), instance segmentation COCO JSON with masks (`CocoInstances`). Categories that the model does not have
    are left out; classes that the data does not have are `Dataset.unscored`.

    Args:
        model: an open model.
        data: the folder, or a file of COCO JSON.
        split: its part, for segmentation also several; ``test``, or ``val`` where there is no test, when None.
        cache_mb: decoded samples kept in memory, MiB; worth it where the data is gone through many times.
        progress: listener, told the samples read.
        classes: the model's classes that figures are of; all that the data has when None.

    Returns:
        The data, named after its folder and split.

    Raises:
        DatasetError: another task, another layout, or none of the classes is the model's and the data's.
    """
    task = measured_task(model.task)
    if unknown := [c for c in classes or () if c not in model.class_names]:
        raise DatasetError(f"the model has no class {unknown}; it knows {list(model.class_names)}")
    dataset = task.open_evaluation_data(Path(data), model.class_names, split, cache_mb, progress)
    if classes is not None:
        dataset.unscored |= frozenset(model.class_names) - frozenset(classes)
        if not dataset.scored:
            raise DatasetError(f"{dataset.name} has none of the classes {list(classes)}; choose among those it has")
    return dataset
