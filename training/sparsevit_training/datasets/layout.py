"""Where the parts of a labelled data set lie in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import Progress

from .coco import CocoBoxes, CocoMasks

#: Splits to measure on unless one is named, the first that is there.
DEFAULT_SPLITS = ("test", "val")

#: Parts of the data: one, several, or None for the usual one.
Split = str | Sequence[str] | None

_COCO_LAYOUT = (
    "expected DATA/annotations/instances_SPLIT.json with DATA/SPLIT/*.jpg, or DATA/annotations.json with "
    "DATA/images/*.jpg (COCO JSON)"
)

_Coco = TypeVar("_Coco", CocoBoxes, CocoMasks)


def open_coco(
    kind: type[_Coco],
    root: Path,
    categories: Sequence[str],
    split: Split,
    cache_mb: int,
    progress: Progress,
    **options: Any,
) -> _Coco:
    """Opens COCO JSON, named after its folder, and after the split where the file is named after one.

    Args:
        kind: what is taken from it.
        root: the folder.
        categories, cache_mb, progress, options: arguments of `kind`.
        split: part of the data.

    Raises:
        DatasetError: no annotations of that split, several splits, or as `kind` does.
    """
    data = kind(*_coco(root, split), categories, cache_mb, progress, **options)
    part = data.name.removeprefix("instances_")
    data.name = root.name if part == data.name else f"{root.name} {part}"
    return data


def has_coco(root: Path, split: Split) -> bool:
    """Whether there are annotations of that split. Raises DatasetError for several splits."""
    return bool(_coco_files(root, split))


def _coco(root: Path, split: Split) -> tuple[Path, Path]:
    """Annotations and folder of images."""
    if found := _coco_files(root, split):
        return found[0]
    wanted = " or ".join(_splits(split))
    there = (
        sorted(p.name for p in (*root.glob("*"), *root.glob("annotations/*"))) if root.is_dir() else "no such folder"
    )
    raise DatasetError(f"no annotations of {wanted} in {root}; {_COCO_LAYOUT}. Found: {there}")


def _coco_files(root: Path, split: Split) -> list[tuple[Path, Path]]:
    """Where COCO JSON of that split may lie and does, the first choice first."""
    places = [(root / "annotations" / f"instances_{name}.json", root / name) for name in _splits(split)]
    if split is None:
        places.insert(0, (root / "annotations.json", root / "images"))
    return [place for place in places if place[0].is_file()]


def _splits(split: Split) -> tuple[str, ...]:
    if split is None:
        return DEFAULT_SPLITS
    splits = (split,) if isinstance(split, str) else tuple(split)
    if len(splits) != 1:
        raise DatasetError(f"COCO JSON is measured on one split at a time, asked for {list(splits)}")
    return splits
