"""Where the parts of a labelled data set lie in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import Progress

from .coco import CocoBoxes, CocoMasks
from .coco_file import CocoFile
from .coco_instances import CocoInstances

#: Splits to measure on unless one is named, the first that is there.
DEFAULT_SPLITS = ("test", "val")

#: Parts of the data: one, several, or None for the usual one.
Split = str | Sequence[str] | None

_COCO_LAYOUT = (
    "expected DATA/annotations/instances_SPLIT.json with DATA/SPLIT/*.jpg, or DATA/annotations.json with "
    "DATA/images/*.jpg (COCO JSON); other names are found where there is one file to choose, or name the file itself"
)
#: Names of the annotations of a split, in the order of preference; the first two are COCO's own.
_OF_SPLIT = (
    "annotations/instances_{}.json",
    "annotations/{}.json",
    "{}/_annotations.coco.json",
    "{}/annotations.json",
    "instances_{}.json",
    "{}.json",
    "annotations/instances_{}2017.json",
)
#: Names of annotations without a split.
_OF_ALL = (
    "annotations.json",
    "annotations/instances_default.json",
    "annotations/annotations.json",
    "_annotations.coco.json",
    "labels.json",
    "result.json",
)
#: Images that are looked for to know their folder.
_LOOKED_FOR = 20

_Coco = TypeVar("_Coco", CocoBoxes, CocoInstances, CocoMasks)


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
        kind: kind of truth that is taken from it.
        root: the folder, or the JSON file.
        categories, cache_mb, progress, options: arguments of `kind`.
        split: part of the data.

    Raises:
        DatasetError: no annotations of that split, several splits, several files to choose from, or as `kind` does.
    """
    path = _annotations(root, split)
    file = CocoFile(path)
    folder = root if root.is_dir() else path.parent.parent if path.parent.name == "annotations" else path.parent
    data = kind(file, _images(file, folder), categories, cache_mb, progress, **options)
    part = _part(path, folder)
    data.name = f"{folder.name or folder.resolve().name} {part}".strip()
    return data


def has_coco(root: Path, split: Split) -> bool:
    """Whether there are annotations of that split. Raises DatasetError for several splits."""
    return bool(_candidates(root, split))


def _annotations(root: Path, split: Split) -> Path:
    found = _candidates(root, split)
    wanted = " or ".join(_splits(split))
    if not found:
        raise DatasetError(f"no annotations of {wanted} in {root}; {_COCO_LAYOUT}. Found: {_listing(root)}")
    if len(found) > 1:
        names = [str(p.relative_to(root)) for p in found]
        raise DatasetError(f"no annotations of {wanted} in {root}, but {names}; name one of these files as DATA")
    return found[0]


def _candidates(root: Path, split: Split) -> list[Path]:
    """The file of that split, or all files that it may be."""
    splits = _splits(split)
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" else []
    names = [name for name in _OF_ALL if split is None] + [n.format(s) for s in splits for n in _OF_SPLIT]
    if split is None:  # one without a split lies beside its images
        names.sort(key=lambda name: name != "annotations.json")
    for name in names:
        if (root / name).is_file():
            return [root / name]
    if split is not None or not root.is_dir():
        return []
    return sorted(p for p in (*root.glob("*.json"), *root.glob("annotations/*.json")) if p.is_file())


def _images(file: CocoFile, root: Path) -> Path:
    """The folder in which most of the first images lie."""
    names = [e.file_name for e in file.images[:_LOOKED_FOR]]

    def count(folder: Path) -> int:
        return sum(_is_file(folder / n) for n in names if not Path(n).is_absolute() and ".." not in Path(n).parts)

    return max(_image_folders(file.path, root), key=count)  # the first of the best


def _image_folders(path: Path, root: Path) -> Iterator[Path]:
    part = _part(path, root)
    if path == root / "annotations.json":
        yield root / "images"
    if part:
        yield from (root / part, root / "images" / part, root / part / "images")
    yield root / "images" / path.stem.removeprefix("instances_")
    yield from (root / "images", root / "data", path.parent / "images", path.parent, root)


def _part(path: Path, root: Path) -> str:
    """Name of the split that a file is named after; empty where it is of all."""
    name = path.stem.removeprefix("instances_")
    if path.name in {Path(n).name for n in _OF_ALL} or name == "annotations":
        return "" if path.parent in (root, root / "annotations") else path.parent.name
    return name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no file can have this name
        return False


def _listing(root: Path) -> list[str] | str:
    if not root.is_dir():
        return "no such folder"
    return sorted(p.name for p in (*root.glob("*"), *root.glob("annotations/*")))[:40]


def _splits(split: Split) -> tuple[str, ...]:
    if split is None:
        return DEFAULT_SPLITS
    splits = (split,) if isinstance(split, str) else tuple(split)
    if len(splits) != 1:
        raise DatasetError(f"COCO JSON is measured on one split at a time, asked for {list(splits)}")
    return splits
