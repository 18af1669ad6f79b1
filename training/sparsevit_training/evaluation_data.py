"""Labelled data as a model needs it, found by the layout of a folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import SILENT, Progress

from .datasets import CocoBoxes, CocoMasks, Dataset, SemanticFolder, read_classes

log = logging.getLogger(__name__)

#: Splits to measure on unless one is named, the first that is there.
DEFAULT_SPLITS = ("test", "val")

_COCO_LAYOUT = (
    "expected DATA/annotations/instances_SPLIT.json with DATA/SPLIT/*.jpg, or DATA/annotations.json with "
    "DATA/images/*.jpg (COCO JSON)"
)


class Evaluated(Protocol):
    """What the data must suit: an open `Model`."""

    @property
    def task(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...


def open_evaluation_data(
    model: Evaluated,
    data: str | Path,
    split: str | Sequence[str] | None = None,
    cache_mb: int = 0,
    progress: Progress = SILENT,
) -> Dataset:
    """Opens the data that a model of this task and these classes is measured on.

    Segmentation takes folders in CamVid layout (`SemanticFolder`), whose classes that the model does not have are void,
    or the masks of COCO JSON (`CocoMasks`), the model's first class being the background. Detection takes COCO JSON
    (`CocoBoxes`). Categories that the model does not have are left out.

    Args:
        model: an open model.
        data: the folder.
        split: its part, for segmentation also several; ``test``, or ``val`` where there is no test, when None.
        cache_mb: decoded samples kept in memory, MiB; worth it where the data is gone through many times.
        progress: told the samples read.

    Returns:
        The data, named after its folder and split.

    Raises:
        DatasetError: another task, another layout, or classes of the model that the data does not have.
    """
    root = Path(data)
    if model.task == "segmentation":
        if (root / "classes.txt").exists() or not _coco_files(root, split):
            return _semantic(model, root, split, cache_mb, progress)
        background, *names = model.class_names
        return _named(root, CocoMasks(*_coco(root, split), names, cache_mb, progress, background=background))
    if model.task == "detection":
        return _named(root, CocoBoxes(*_coco(root, split), model.class_names, cache_mb, progress))
    raise DatasetError(f"there is no metric for a {model.task} model; evaluate a segmentation or a detection model")


def _semantic(
    model: Evaluated, root: Path, split: str | Sequence[str] | None, cache_mb: int, progress: Progress
) -> SemanticFolder:
    classes = read_classes(root / "classes.txt")
    void = [c.name for c in classes.values() if c.name not in model.class_names]
    if void:
        log.warning("not counted, because the model has no such class: %s", ", ".join(void))
    if split is None:
        split = next((s for s in DEFAULT_SPLITS if (root / s).is_dir()), DEFAULT_SPLITS[0])
    splits = [split] if isinstance(split, str) else list(split)
    data = SemanticFolder(root, splits, cache_mb=cache_mb, progress=progress, names=model.class_names)
    data.name = " ".join([root.name, *splits])
    return data


def _named(root: Path, data: CocoBoxes | CocoMasks) -> CocoBoxes | CocoMasks:
    """After the folder, and the split where the file is named after one."""
    split = data.name.removeprefix("instances_")
    data.name = root.name if split == data.name else f"{root.name} {split}"
    return data


def _coco(root: Path, split: str | Sequence[str] | None) -> tuple[Path, Path]:
    """Annotations and folder of images."""
    if found := _coco_files(root, split):
        return found[0]
    wanted = " or ".join(_splits(split))
    there = (
        sorted(p.name for p in (*root.glob("*"), *root.glob("annotations/*"))) if root.is_dir() else "no such folder"
    )
    raise DatasetError(f"no annotations of {wanted} in {root}; {_COCO_LAYOUT}. Found: {there}")


def _coco_files(root: Path, split: str | Sequence[str] | None) -> list[tuple[Path, Path]]:
    """Where COCO JSON of that split may lie and does, the first choice first."""
    places = [(root / "annotations" / f"instances_{name}.json", root / name) for name in _splits(split)]
    if split is None:
        places.insert(0, (root / "annotations.json", root / "images"))
    return [place for place in places if place[0].is_file()]


def _splits(split: str | Sequence[str] | None) -> tuple[str, ...]:
    if split is None:
        return DEFAULT_SPLITS
    splits = (split,) if isinstance(split, str) else tuple(split)
    if len(splits) != 1:
        raise DatasetError(f"COCO JSON is measured on one split at a time, asked for {list(splits)}")
    return splits
