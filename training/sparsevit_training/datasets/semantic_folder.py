"""Semantic segmentation folders in the layout of CamVid.

ROOT/classes.txt                 one class a line: "id name R G B"
ROOT/SPLIT/images/NAME.jpg|png
ROOT/SPLIT/labels/NAME.png       8-bit grey, pixel value = class id
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import SILENT, Progress

from .base import IGNORE, BadSample, CachedSamples, ClassInfo, Dataset, Sample, decode

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_LAYOUT = (
    'expected ROOT/classes.txt ("id name R G B" a line), ROOT/SPLIT/images/*.jpg|png and ROOT/SPLIT/labels/*.png '
    "(8-bit grey, pixel value = class id)"
)


def read_classes(path: str | Path) -> dict[int, ClassInfo]:
    """Reads a class list, one ``id name R G B`` a line.

    Raises:
        DatasetError: no such file, or a line of another form.
    """
    path = Path(path)
    try:
        lines = path.read_text().splitlines()
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
        if not name:
            raise DatasetError(f'{path}:{number} is {line!r}; expected "id name R G B", such as "0 Sky 128 128 128"')
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
    ) -> None:
        root = Path(root)
        self.name = root.name
        listed = read_classes(root / "classes.txt")
        if names is None:
            ids = _ids_without(void, listed, root / "classes.txt")
        else:
            ids = _ids_of(names, listed, root / "classes.txt")
            void = [i for i in listed if i not in ids]
        self.classes = tuple(listed[i] for i in ids)
        # Label value -> training id; 254 marks values that the class list does not know.
        self._ids = np.full(256, 254, np.uint8)
        self._ids[ids] = np.arange(len(ids))
        self._ids[[i for i in void if 0 <= i < 256] + [255]] = IGNORE

        pairs = []
        for split in splits:
            images = sorted(p for p in (root / split / "images").glob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            if not images:
                found = sorted(p.name for p in root.glob("*")) if root.is_dir() else "no such folder"
                raise DatasetError(f"no images in {root / split / 'images'}; {_LAYOUT}. Found in {root}: {found}")
            pairs += [(p, root / split / "labels" / f"{p.stem}.png") for p in images]
        chosen = set(range(offset, len(pairs), every))
        pairs = [p for i, p in enumerate(pairs) if (i in chosen) != exclude]
        self._samples = CachedSamples([_Pair(*p) for p in pairs], self._read, cache_mb, progress)
        self.skipped = self._samples.skipped
        if not len(self._samples):
            first = f"; first: {self.skipped[0].name}: {self.skipped[0].reason}" if self.skipped else ""
            raise DatasetError(
                f"none of the {len(pairs)} samples of {root} ({list(splits)}) is usable{first}. {_LAYOUT}"
            )

    def _read(self, pair: _Pair) -> Sample:
        image_path, label_path = pair
        image = decode(image_path)
        if not label_path.is_file():
            raise BadSample(f"no label at {label_path}")
        label = decode(label_path, cv2.IMREAD_UNCHANGED)
        if label.ndim != 2 or label.dtype != np.uint8:
            raise BadSample(f"the label {label_path} is {label.dtype} of shape {label.shape}; expected 8-bit grey")
        if label.shape != image.shape[:2]:
            raise BadSample(f"the label is {label.shape}, the image {image.shape[:2]} (height, width)")
        label = self._ids[label]
        if (label == 254).any():
            raise BadSample(f"the label {label_path} has values outside the {len(self.classes)} classes and void")
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


def _ids_without(void: Sequence[int], listed: dict[int, ClassInfo], path: Path) -> list[int]:
    ids = sorted(i for i in listed if i not in void)
    if ids != list(range(len(ids))) or not ids:
        raise DatasetError(
            f"{path} has class ids {sorted(listed)} with void {list(void)}; the other ids must count up from 0 without "
            "a gap. List the void ids in the recipe, or renumber the labels"
        )
    return ids


def _ids_of(names: Sequence[str], listed: dict[int, ClassInfo], path: Path) -> list[int]:
    ids = {c.name: i for i, c in listed.items()}
    missing = [n for n in names if n not in ids]
    if missing:
        raise DatasetError(f"{path} has no class {missing}; it has {list(ids)}. Name them alike, or take other data")
    return [ids[n] for n in names]
