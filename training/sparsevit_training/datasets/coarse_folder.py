"""Folders in the layout of CamVid whose labels are coarser than the classes that are learned.

A pixel of IDD-Lite's "far objects" is Building or Tree: what is taught is that it is one of them. There is no class
list; the recipe says which classes each label value may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import SILENT, Progress

from .base import FIRST_GROUP, IGNORE, CachedSamples, Dataset, Sample
from .label_files import read_labels
from .semantic_folder import paired_files
from .turning import decode_turned

_VALUES = 2**16


class CoarseFolder(Dataset):
    """Images with coarse label maps, from one or more splits of a folder.

    Args:
        root: the folder, see `semantic_folder`.
        splits: names of sub-folders, concatenated in this order; within a split samples are sorted by name.
        groups: names of classes by label value; pixels of other values are void.
        every, offset, exclude: which samples are taken, see `SemanticFolder`.
        cache_mb: decoded samples kept in memory, MiB.
        progress: see `CachedSamples`.

    Attributes:
        values: the label value of each group.

    Raises:
        DatasetError: nothing there, another layout, too many groups, or no usable sample.
    """

    def __init__(
        self,
        root: str | Path,
        splits: Sequence[str],
        groups: Mapping[int, Sequence[str]],
        every: int = 1,
        offset: int = 0,
        exclude: bool = False,
        cache_mb: int = 2048,
        progress: Progress = SILENT,
    ) -> None:
        root = Path(root)
        self.name = root.name
        if len(groups) > IGNORE - FIRST_GROUP:
            raise DatasetError(f"{root}: {len(groups)} groups; take at most {IGNORE - FIRST_GROUP}")
        self.values = tuple(groups)
        self.groups = tuple(tuple(names) for names in groups.values())
        self._ids = np.full(_VALUES, IGNORE, np.uint8)
        self._ids[list(groups)] = FIRST_GROUP + np.arange(len(groups), dtype=np.uint8)
        pairs = paired_files(root, splits, every, offset, exclude)
        self._samples = CachedSamples(pairs, self._read, cache_mb, progress)
        self.skipped = self._samples.skipped
        if not len(self._samples):
            first = f"; first: {self.skipped[0].name}: {self.skipped[0].reason}" if self.skipped else ""
            raise DatasetError(f"none of the {len(pairs)} samples of {root} ({list(splits)}) is usable{first}")

    def _read(self, pair: tuple[Path, Path]) -> Sample:
        image_path, label_path = pair
        written = read_labels(label_path)
        image, turn = decode_turned(image_path, (written.shape[1], written.shape[0]), "its label")
        label = self._ids[written]
        return Sample(image, label if turn is None else turn.array(label).copy(), image_path.name)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]
