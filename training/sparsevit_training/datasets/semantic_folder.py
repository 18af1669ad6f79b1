"""Semantic segmentation folders in the layout of CamVid.

ROOT/classes.txt                 one class a line: "id name R G B"
ROOT/SPLIT/images/NAME.jpg|png
ROOT/SPLIT/labels/NAME.png       pixel value = class id: grey of 8 or 16 bits, or palette indices
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import SILENT, Progress

from .base import IGNORE, BadSample, CachedSamples, ClassInfo, Dataset, Sample
from .label_files import read_labels
from .turning import decode_turned

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_LAYOUT = (
    'expected ROOT/classes.txt ("id name R G B" a line), ROOT/SPLIT/images/*.jpg|png and ROOT/SPLIT/labels/*.png '
    "(8-bit grey, pixel value = class id)"
)
#: Label values are below this.
_VALUES = 2**16
#: Marks label values that the class list does not know.
_UNKNOWN = 254


def read_classes(path: str | Path) -> dict[int, ClassInfo]:
    """Reads a class list, one ``id name R G B`` a line.

    Raises:
        DatasetError: no such file, or a line of another form.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"no readable class list at {path} ({error}); {_LAYOUT}") from error
    classes = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        fields = line.split()
        try:
            index, red, green, blue = (int(fields[i]) for i in (0, -3, -2, -1))
            name = " ".join(fields[1:-3])
        except (ValueError, IndexError):
            name = ""
        if not name or not all(0 <= c <= 255 for c in (red, green, blue)):
            raise DatasetError(
                f'{path}:{number} is {line[:200]!r}; expected "id name R G B", such as "0 Sky 128 128 128"'
            )
        if index in classes or not 0 <= index < _VALUES:
            raise DatasetError(
                f"{path}:{number} has the id {index}, "
                + ("which another line has" if index in classes else f"expected 0 to {_VALUES - 1}")
                + "; number the classes apart"
            )
        classes[index] = ClassInfo(name, (red, green, blue))
    if not classes:
        raise DatasetError(f"{path} is empty; {_LAYOUT}")
    return classes


class SemanticFolder(Dataset):
    """Images with label maps, from one or more splits of a folder.

    Args:
        root: the folder.
        splits: names of sub-folders, concatenated in this order; within a split samples are sorted by name.
        void: class ids that take no part in loss and metrics. Without `names` they must be the highest ids, so that
            the others number from 0 without a gap. 255 is always void.
        names: classes in the order that numbers them, whatever their ids; the others are void too. None takes all, in
            the order of their ids.
        partial: names that the class list does not know are `unscored`, and no error while it knows one.
        every: take every n-th sample of the concatenation only; with `offset` the first one taken.
        exclude: turn `every` around: take the samples that it would leave out.
        cache_mb: decoded samples kept in memory, MiB.
        progress: see `CachedSamples`.

    Raises:
        DatasetError: nothing there, another layout, or no usable sample.
    """

    def __init__(
        self,
        root: str | Path,
        splits: Sequence[str],
        void: Sequence[int] = (),
        every: int = 1,
        offset: int = 0,
        exclude: bool = False,
        cache_mb: int = 2048,
        progress: Progress = SILENT,
        names: Sequence[str] | None = None,
        partial: bool = False,
    ) -> None:
        root = Path(root)
        self.name = root.name
        listed = read_classes(root / "classes.txt")
        ids: list[tuple[int, ...]]
        if names is None:
            ids = [(i,) for i in _ids_without(void, listed, root / "classes.txt")]
            self.classes = tuple(listed[i[0]] for i in ids)
        else:
            ids = _ids_of(names, listed, root / "classes.txt", partial)
            void = [i for i, c in listed.items() if c.name not in names]
            self.classes = tuple(listed[i[0]] if i else ClassInfo(n, (0, 0, 0)) for n, i in zip(names, ids))
            self.unscored = frozenset(n for n, i in zip(names, ids, strict=True) if not i)
        if len(ids) >= _UNKNOWN:
            raise DatasetError(f"{root / 'classes.txt'} has {len(ids)} classes; take at most {_UNKNOWN - 1}")
        self._ids = np.full(_VALUES, _UNKNOWN, np.uint8)  # label value -> training id
        for index, written in enumerate(ids):
            self._ids[list(written)] = index
        self._ids[[i for i in void if 0 <= i < _VALUES] + [255]] = IGNORE
        self._found: set[int] = set()
        self._values = np.zeros(_VALUES, bool)

        pairs = paired_files(root, splits, every, offset, exclude)
        self._samples = CachedSamples(pairs, self._read, cache_mb, progress)
        self.skipped = self._samples.skipped
        if not len(self._samples):
            first = f"; first: {self.skipped[0].name}: {self.skipped[0].reason}" if self.skipped else ""
            raise DatasetError(
                f"none of the {len(pairs)} samples of {root} ({list(splits)}) is usable{first}. {_LAYOUT}"
            )

        values = np.flatnonzero(self._values)
        self.absent = tuple(
            c.name for i, c in enumerate(self.classes) if i not in self._found and c.name not in self.unscored
        )
        notes = []
        if self.unscored:
            notes.append(f"not scored, for the data does not know them: {', '.join(sorted(self.unscored))}")
        if self.absent:
            notes.append(f"classes that no label has: {', '.join(self.absent)}; the labels have {_listed(values)}")
            if 255 in values and 255 not in listed:
                notes[-1] += ", and 255 is void: a mask of 0 and 255 must be written as class ids"
        self.notes = tuple(notes)
        for note in notes:
            log.warning("%s: %s", self.name, note)

    def _read(self, pair: _Pair) -> Sample:
        image_path, label_path = pair
        written = read_labels(label_path)
        image, turn = decode_turned(image_path, (written.shape[1], written.shape[0]), "its label")
        label = self._ids[written]
        if (label == _UNKNOWN).any():
            unknown = _listed(np.unique(written[label == _UNKNOWN]))
            raise BadSample(
                f"the label {label_path} has values outside the {len(self.classes)} classes and void: {unknown}"
            )
        self._values[np.unique(written)] = True
        self._found |= set(np.unique(label).tolist())
        if turn is not None:
            label = turn.array(label).copy()
        return Sample(image, label, image_path.name)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


class _Pair(NamedTuple):
    """Files of a sample; its text names the image in messages."""

    image: Path
    label: Path

    def __str__(self) -> str:
        return str(self.image)


def paired_files(root: Path, splits: Sequence[str], every: int, offset: int, exclude: bool) -> list[_Pair]:
    """Image and label of the samples that are taken; arguments as for `SemanticFolder`.

    Raises:
        DatasetError: a split has no images.
    """
    pairs: list[_Pair] = []
    for split in splits:
        images = sorted(p for p in (root / split / "images").glob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            found = sorted(p.name for p in root.glob("*")) if root.is_dir() else "no such folder"
            raise DatasetError(f"no images in {root / split / 'images'}; {_LAYOUT}. Found in {root}: {found}")
        pairs += [_Pair(p, root / split / "labels" / f"{p.stem}.png") for p in images]
    chosen = set(range(offset, len(pairs), every))
    return [p for i, p in enumerate(pairs) if (i in chosen) != exclude]


def _ids_without(void: Sequence[int], listed: dict[int, ClassInfo], path: Path) -> list[int]:
    ids = sorted(i for i in listed if i not in void)
    names = [listed[i].name for i in ids]
    if doubled := sorted({n for n in names if names.count(n) > 1}):
        raise DatasetError(f"{path} has several classes named {doubled}; name them apart, or write one id for them")
    if ids != list(range(len(ids))) or not ids:
        raise DatasetError(
            f"{path} has class ids {sorted(listed)} with void {list(void)}; the other ids must count up from 0 without "
            "a gap. List the void ids in the recipe, or renumber the labels"
        )
    return ids


def _ids_of(names: Sequence[str], listed: dict[int, ClassInfo], path: Path, partial: bool) -> list[tuple[int, ...]]:
    """The ids of each name; none of a name that the list does not know."""
    ids = [tuple(i for i, c in listed.items() if c.name == n) for n in names]
    missing = [n for n, found in zip(names, ids, strict=True) if not found]
    if len(missing) == len(ids) or (missing and not partial):
        known = [c.name for c in listed.values()]
        raise DatasetError(f"{path} has no class {missing}; it has {known}. Name them alike, or take other data")
    return ids


def _listed(values: np.ndarray) -> str:
    shown = ", ".join(str(v) for v in values[:10])
    return f"{shown}, ..." if len(values) > 10 else shown
