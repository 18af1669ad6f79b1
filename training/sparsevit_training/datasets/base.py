"""What every dataset gives: decoded samples by index, and the names of those that had to be skipped."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from sparsevit_runtime.errors import DatasetError, ImageError
from sparsevit_runtime.images.image_files import read_image
from sparsevit_runtime.progress import SILENT, Progress, track

#: Label of pixels that take no part in loss and metrics.
IGNORE = 255
#: Label of pixels of the first group of classes (`Dataset.groups`), the others behind it.
FIRST_GROUP = 192

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """One class: its name and display colour (RGB)."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Objects of an image.

    Attributes:
        xyxy: (N, 4) float32 corners in pixels; the upper left corner of the image is 0, 0.
        classes: (N,) int64.
        masks: of each, (H, W) bool of the image, or packed as pycocotools packs them; None where nobody asked for them.
    """

    xyxy: np.ndarray
    classes: np.ndarray
    masks: tuple[Any, ...] | None = None

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, slots=True)
class Sample:
    """One decoded sample.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        label: (H, W) uint8 class ids, `FIRST_GROUP` and on where only a group is known, `IGNORE` where void; None for
            an image without a label map.
        name: name for messages.
        boxes: objects; None for an image without boxes, which is not the same as an image of no object.
    """

    image: np.ndarray
    label: np.ndarray | None
    name: str
    boxes: Boxes | None = None

    def require_label(self) -> np.ndarray:
        """`label`. Raises DatasetError where there is none."""
        if self.label is None:
            raise DatasetError(f"{self.name} has no label map; take data in which every image has one")
        return self.label


@dataclass(frozen=True, slots=True)
class SkippedSample:
    """A sample that could not be used, and why."""

    name: str
    reason: str


class BadSample(Exception):
    """Raised by a reader for one unusable sample; the dataset names it and goes on without it."""


def decode(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """An image file, as `read_image` decodes it. Raises BadSample, with the path."""
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise BadSample(f"{path} is no file")
        return read_image(path, flags)
    except (OSError, ValueError) as error:  # a name that no file can have
        raise BadSample(f"{str(path)[:120]!r} cannot be read ({error})") from error
    except ImageError as error:
        raise BadSample(f"{path}: {error}") from error


def counted(count: int, noun: str) -> str:
    """Such as "1 object" or "3 objects"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class Dataset(ABC):
    """Samples by index.

    Attributes:
        name: name for messages and reports.
        classes: the classes; empty for unlabelled data.
        groups: names of the classes that pixels of each group may have; empty where labels say the classes themselves.
        skipped: samples that were left out, and why.
        left_out: objects that were left out of samples, by the reason, which ends "3 objects ...".
        absent: names of the classes that no sample has.
        unscored: names of the classes that no figure is of.
        notes: sentences for whoever sees figures of this data.
    """

    name: str
    classes: tuple[ClassInfo, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    skipped: tuple[SkippedSample, ...] = ()
    left_out: Mapping[str, int] = MappingProxyType({})
    absent: tuple[str, ...] = ()
    unscored: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def scored(self) -> tuple[str, ...]:
        """Names of the classes that figures are of, in their order."""
        return tuple(c.name for c in self.classes if c.name not in self.unscored)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...

    def fingerprint(self) -> str:
        """A hash of every image with its truth: data of the same fingerprint gives the same figures."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            sample = self[index]
            truth = [] if sample.boxes is None else [sample.boxes.xyxy, sample.boxes.classes]
            for array in (sample.image, sample.label, *truth):
                if array is not None:
                    digest.update(f"{array.shape}{array.dtype}".encode())
                    digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def subset(self, indices: Sequence[int]) -> Dataset:
        """Some of the samples, in this order; nothing is read again."""
        return Subset(self, indices)


class Subset(Dataset):
    """Some samples of a data set; see `Dataset.subset`."""

    def __init__(self, whole: Dataset | CachedSamples, indices: Sequence[int]) -> None:
        self.name, self.classes = getattr(whole, "name", ""), getattr(whole, "classes", ())
        self.unscored = getattr(whole, "unscored", frozenset())
        self._whole, self._indices = whole, tuple(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._whole[self._indices[index]]


class CachedSamples:
    """Reads every sample once to check it, and keeps as many decoded as fit the limit.

    Args:
        keys: keys that the reader understands, one per sample.
        read: decodes one sample; raises BadSample when it is unusable.
        cache_mb: decoded samples kept in memory, in MiB; the rest are read again at each use.
        progress: listener, told the samples read.
    """

    def __init__(
        self,
        keys: Iterable[Any],
        read: Callable[[Any], Sample],
        cache_mb: int,
        progress: Progress = SILENT,
    ) -> None:
        self._read = read
        self._keys: list = []
        self._cache: dict[int, Sample] = {}
        skipped = []
        room = cache_mb * 2**20
        keys = list(keys)
        for key in track(keys, "reading the data", progress):
            try:
                sample = read(key)
            except BadSample as error:
                skipped.append(SkippedSample(str(key), str(error)))
                log.warning("skipped %s: %s", key, error)
                continue
            size = sample.image.nbytes + (0 if sample.label is None else sample.label.nbytes)
            if size <= room:
                room -= size
                self._cache[len(self._keys)] = sample
            self._keys.append(key)
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Sample:
        sample = self._cache.get(index)
        if sample is not None:
            return sample
        try:
            return self._read(self._keys[index])
        except BadSample as error:  # it was good when the data set was opened
            raise DatasetError(f"{self._keys[index]} has changed meanwhile: {error}; start again") from error
