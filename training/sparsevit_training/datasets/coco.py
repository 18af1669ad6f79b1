"""Boxes or masks in COCO JSON (https://cocodataset.org/#format-data): one file of annotations, one folder of images."""

from __future__ import annotations

import colorsys
import copy
import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparsevit_runtime.dependencies import require
from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import SILENT, Progress
from sparsevit_runtime.tasks.segmentation import COCO_MASK

from .base import IGNORE, Boxes, CachedSamples, ClassInfo, Dataset, Sample, Subset, counted
from .coco_fields import BadObject, id_key, read_area, read_box, read_crowd
from .coco_file import LAYOUT, CocoFile, Entry
from .coco_masks import read_mask
from .turning import Turn, decode_turned

log = logging.getLogger(__name__)

#: Name of the class of pixels that belong to no object.
BACKGROUND = "background"
#: Sides below this many pixels are no boxes to learn from but slips of the annotator.
_LEAST_SIDE = 1.0
#: Ids that pycocotools can sort.
_LARGEST_ID = 2**53


class _CocoDataset(Dataset):
    """Images with objects of some categories. Images without any of them are samples too.

    An object that cannot be used is left out and counted; its image stays.

    Args:
        annotations: the JSON file, or what was read from it.
        images: folder that its file names are relative to, and lie in.
        categories: names, in the order that numbers the classes; None takes all, in the order of their ids.
        cache_mb: decoded samples kept in memory, MiB.
        progress: see `CachedSamples`.
        partial: categories that the file does not know are `unscored`, and no error while it knows one.

    Attributes:
        names: names of the categories taken, in that order.

    Raises:
        DatasetError: no file, another layout, categories that the file does not know, a file name that leads out of
            the folder, or no usable sample.
    """

    def __init__(
        self,
        annotations: str | Path | CocoFile,
        images: str | Path,
        categories: Sequence[str] | None = None,
        cache_mb: int = 2048,
        progress: Progress = SILENT,
        partial: bool = False,
    ) -> None:
        self._folder = Path(images)
        file = annotations if isinstance(annotations, CocoFile) else CocoFile(annotations)
        path = file.path
        self.name = path.stem
        known = file.categories
        names = tuple(known) if categories is None else tuple(categories)
        unknown = [n for n in names if n not in known]
        if len(unknown) == len(names) or (unknown and not partial):
            raise DatasetError(f"{path} has no category {unknown}; it knows {list(known)}")
        self.names = names
        self.unscored = frozenset(unknown)
        self.classes = tuple(ClassInfo(n, _color(i, len(names))) for i, n in enumerate(names))
        self._class_of = {key: i for i, n in enumerate(names) for key in known.get(n, ())}
        for entry in file.images:
            _check_inside(self._folder, entry.file_name, path)

        self._faults: dict[str, Counter[str]] = {}
        self._found: set[int] = set()
        self._samples: CachedSamples | Subset = CachedSamples(file.images, self._decode, cache_mb, progress)
        self.skipped = (*file.skipped, *self._samples.skipped)
        if not len(self._samples):
            first = f"; first: {self.skipped[0].name}: {self.skipped[0].reason}" if self.skipped else ""
            raise DatasetError(
                f"none of the {len(file.images)} images of {path} is usable in {self._folder}{first}. {LAYOUT}"
            )
        faults = sum(self._faults.values(), Counter())
        clipped = faults.pop(_CLIPPED, 0)
        self.left_out = dict((file.left_out + faults).most_common())
        left_out = {s.name for s in self.skipped}
        self._used = [e for e in file.images if str(e) not in left_out]
        self.absent = tuple(n for i, n in enumerate(names) if i not in self._found and n not in self.unscored)
        self.notes = _notes(self.left_out, clipped, self.absent, self.unscored)
        for note in self.notes:
            log.warning("%s: %s", self.name, note)

    #: Objects that may be a crowd or not are void, as crowds are; otherwise they are left out.
    _doubtful_are_void = False

    def _decode(self, entry: Entry) -> Sample:
        image, turn = decode_turned(self._folder / entry.file_name, entry.size_wh, "its annotations say")
        height, width = image.shape[:2]
        faults: Counter[str] = Counter()
        sample = self._sample(image, entry, turn, (width, height) if turn is None else (height, width), faults)
        self._faults[str(entry)] = faults  # read again, it has the same
        return sample

    def _taken(self, entry: Entry, faults: Counter[str]) -> list[tuple[dict[str, Any], int, bool]]:
        """Objects of the categories taken, each with its class and whether it is a crowd."""
        taken = []
        for o in entry.objects:
            if (kind := self._class_of.get(o["category_id"])) is not None:
                try:
                    taken.append((o, kind, read_crowd(o.get("iscrowd"))))
                except BadObject as error:
                    faults[str(error)] += 1
                    if self._doubtful_are_void:
                        taken.append((o, kind, True))
        return taken

    @abstractmethod
    def _sample(
        self, image: np.ndarray, entry: Entry, turn: Turn | None, drawn_wh: tuple[int, int], faults: Counter[str]
    ) -> Sample:
        """The sample of an image.

        Args:
            image: its pixels, turned.
            entry: its objects.
            turn: turn of the objects.
            drawn_wh: size that they were drawn for.
            faults: counts those that are left out.
        """

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


@dataclass(frozen=True)
class _Box:
    """An object as evaluations count it: x, y, width, height, and where masks are evaluated that, in run lengths."""

    box: tuple[float, float, float, float]
    kind: int
    crowd: bool
    area: float
    mask: dict[str, Any] | None = None


class CocoBoxes(_CocoDataset):
    """Images with boxes; crowds are left out. Arguments and errors as for every data set in COCO JSON.

    Boxes that reach out of the image are clipped; of two with the same class and corners one counts.

    Attributes:
        image_ids: image ids of the samples, in their order; numbered from 1 where the file's are not whole numbers.
        document: the part of the JSON that the samples come from (in a subset, that of the whole), with category ids
            1, 2, ... in the order of `classes`; crowds included, so that an evaluation can ignore them.
    """

    #: Every object has a mask.
    _has_masks = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._boxes: dict[str, list[_Box]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        super().__init__(*arguments, **options)
        ids = [e.id for e in self._used if isinstance(e.id, int) and abs(e.id) < _LARGEST_ID]
        self.image_ids = tuple(ids if len(ids) == len(self._used) else range(1, len(self._used) + 1))
        self._id_of = {str(id_key(e.id)): new for e, new in zip(self._used, self.image_ids, strict=True)}
        self.document = self._relabelled()

    def subset(self, indices: Sequence[int]) -> CocoBoxes:
        """Some of the images, in this order; figures count these alone."""
        part = copy.copy(self)
        part._samples = Subset(self._samples, indices)
        part.image_ids = tuple(self.image_ids[i] for i in indices)
        return part

    def own_records(self, records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Records over the ids of the file as records over those of `document`; those of images and categories that are
        not taken are left out."""
        taken, images = [], set(self.image_ids)
        for record in records:
            image = self._id_of.get(str(id_key(record["image_id"])))
            kind = self._class_of.get(str(id_key(record["category_id"])))
            if image in images and kind is not None:
                taken.append({**record, "image_id": image, "category_id": kind + 1})
        return taken

    def _relabelled(self) -> dict[str, Any]:
        objects: list[dict[str, Any]] = []
        images: list[dict[str, Any]] = []
        for image_id, entry in zip(self.image_ids, self._used, strict=True):
            width, height = self._sizes[str(entry)]
            images.append({"id": image_id, "file_name": entry.file_name, "width": width, "height": height})
            objects += [
                {
                    "id": len(objects) + i,
                    "image_id": image_id,
                    "category_id": found.kind + 1,
                    "bbox": list(found.box),
                    "area": found.area,
                    "iscrowd": int(found.crowd),
                }
                | ({} if found.mask is None else {COCO_MASK: found.mask})
                for i, found in enumerate(self._boxes[str(entry)], 1)
            ]
        categories = [{"id": i + 1, "name": c.name} for i, c in enumerate(self.classes)]
        return {"info": {}, "images": images, "annotations": objects, "categories": categories}

    def _sample(
        self, image: np.ndarray, entry: Entry, turn: Turn | None, drawn_wh: tuple[int, int], faults: Counter[str]
    ) -> Sample:
        found: dict[tuple[Any, ...], _Box] = {}
        for o, kind, crowd in self._taken(entry, faults):
            try:
                box, clipped = read_box(o.get("bbox"), drawn_wh)
                mask = self._mask(o, turn, drawn_wh)
            except BadObject as error:
                faults[str(error)] += 1
                continue
            if clipped:
                faults[_CLIPPED] += 1
            key = (kind, crowd, *box)
            if key in found:
                faults["listed twice"] += 1
                continue
            turned = box if turn is None else turn.box(box, drawn_wh)
            found[key] = _Box(turned, kind, crowd, read_area(o.get("area"), box), mask)
        self._boxes[str(entry)] = list(found.values())
        self._sizes[str(entry)] = image.shape[1], image.shape[0]
        learned = [b for b in found.values() if not b.crowd and min(b.box[2:]) >= _LEAST_SIDE]
        self._found |= {b.kind for b in found.values()}
        corners = [(x, y, x + w, y + h) for x, y, w, h in (b.box for b in learned)]
        boxes = Boxes(
            np.array(corners, np.float32).reshape(-1, 4),
            np.array([b.kind for b in learned], np.int64),
            tuple(b.mask for b in learned) if self._has_masks else None,
        )
        return Sample(image, None, entry.file_name, boxes)

    def _mask(self, found: dict[str, Any], turn: Turn | None, drawn_wh: tuple[int, int]) -> dict[str, Any] | None:
        """What evaluations of masks need of an object, turned. Raises BadObject."""
        return None


class CocoMasks(_CocoDataset):
    """Images with a label map drawn from the objects' masks; arguments and errors as for every data set in COCO JSON.

    Class 0 is the background, class i + 1 the category i. Where masks overlap the smaller object is seen; crowds are
    void where no object is, and so is the box of an object whose mask cannot be used.
    """

    _doubtful_are_void = True  # left out they would be background

    def __init__(self, *arguments: Any, background: str = BACKGROUND, **options: Any) -> None:
        """
        Args:
            background: name of the class of all pixels that are of no category.
        """
        require("pycocotools")
        super().__init__(*arguments, **options)
        if background in self.names or len(self.names) >= IGNORE:
            raise DatasetError(
                f"{self.name} has a category {background!r}, or more than {IGNORE - 1}; name the background otherwise, "
                "or take fewer categories"
            )
        self.classes = (ClassInfo(background, (0, 0, 0)), *self.classes)

    def _sample(
        self, image: np.ndarray, entry: Entry, turn: Turn | None, drawn_wh: tuple[int, int], faults: Counter[str]
    ) -> Sample:
        label = np.zeros(drawn_wh[::-1], np.uint8)
        drawn: list[tuple[bool, int, np.ndarray]] = []
        for o, kind, crowd in self._taken(entry, faults):
            try:
                mask = read_mask(o.get(COCO_MASK), label.shape)
            except BadObject as error:
                faults[str(error)] += 1
                _void(label, o.get("bbox"))
                continue
            drawn.append((crowd, IGNORE if crowd else kind + 1, mask))
            self._found.add(kind)
        # crowds first, then the large objects
        for _, value, mask in sorted(drawn, key=lambda found: (not found[0], -int(found[2].sum()))):
            label[mask] = value
        return Sample(image, label if turn is None else turn.array(label).copy(), entry.file_name)


#: Counted with the objects left out, though these stay.
_CLIPPED = "clipped"


def _void(label: np.ndarray, box: Any) -> None:
    """What lies in the box of an object without a mask is of an unknown class."""
    try:
        (x, y, width, height), _ = read_box(box, (label.shape[1], label.shape[0]))
    except BadObject:
        return
    label[int(max(y, 0)) : int(np.ceil(y + height)), int(max(x, 0)) : int(np.ceil(x + width))] = IGNORE


def _check_inside(folder: Path, file_name: str, origin: Path) -> None:
    """Raises DatasetError where a file name leads out of the folder, be it by a link."""
    try:
        inside = (folder / file_name).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # no file can have this name: reading it says so
        return
    if not inside or Path(file_name).is_absolute():
        raise DatasetError(
            f"{origin} names the image {file_name[:200]!r}, which lies outside of {folder}; put the images into that "
            "folder, and name them relative to it"
        )


def _notes(left_out: dict[str, int], clipped: int, absent: Sequence[str], unscored: frozenset[str]) -> tuple[str, ...]:
    notes = []
    if left_out:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        notes.append(f"{counted(sum(left_out.values()), 'object')} left out: {reasons}")
    if clipped:
        notes.append(f"{clipped} of the boxes clipped at the edge of the image")
    if unscored:
        notes.append(f"not scored, for the data does not know them: {', '.join(sorted(unscored))}")
    if absent:
        notes.append(f"classes without any object: {', '.join(absent)}")
    return tuple(notes)


def _color(index: int, count: int) -> tuple[int, int, int]:
    """Hues spread evenly, RGB."""
    red, green, blue = colorsys.hsv_to_rgb(index / count, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
