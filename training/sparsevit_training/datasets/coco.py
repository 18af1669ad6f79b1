"""Boxes or masks in COCO JSON (https://cocodataset.org/#format-data): one file of annotations, one folder of images."""

from __future__ import annotations

import colorsys
import copy
import json
import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sparsevit_runtime.dependencies import require
from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import SILENT, Progress
from sparsevit_runtime.tasks.segmentation import COCO_MASK

from .base import IGNORE, BadSample, Boxes, CachedSamples, ClassInfo, Dataset, Sample, Subset, decode

#: Name of the class of pixels that belong to no object.
BACKGROUND = "background"

_LAYOUT = (
    "expected COCO JSON: `images` (id, file_name, width, height), `categories` (id, name) and `annotations` (image_id, "
    "category_id, bbox as x, y, width, height in pixels; for masks segmentation)"
)
#: Types of the fields that are no ids.
_TYPES = {"file_name": str, "name": str}
#: Sides below this many pixels are no boxes but slips of the annotator.
_LEAST_SIDE = 1.0


class _CocoDataset(Dataset):
    """Images with objects of some categories. Images without any of them are samples too.

    Args:
        annotations: the JSON file.
        images: folder that its file names are relative to.
        categories: names, in the order that numbers the classes; None takes all, in the order of their ids.
        cache_mb: decoded samples kept in memory, MiB.
        progress: see `CachedSamples`.

    Attributes:
        names: names of the categories taken, in that order.

    Raises:
        DatasetError: no file, another layout, categories that the file does not know, or no usable sample.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: str | Path,
        categories: Sequence[str] | None = None,
        cache_mb: int = 2048,
        progress: Progress = SILENT,
    ) -> None:
        self._folder = Path(images)
        path = Path(annotations)
        self.name = path.stem
        listed = _read(path)
        known = {c["name"]: c["id"] for c in sorted(listed["categories"], key=lambda c: c["id"])}
        names = tuple(known) if categories is None else tuple(categories)
        unknown = [n for n in names if n not in known]
        if unknown or not names:
            raise DatasetError(f"{path} has no category {unknown}; it knows {list(known)}")
        self.names = names
        self.classes = tuple(ClassInfo(n, _color(i, len(names))) for i, n in enumerate(names))

        class_of = {known[n]: i for i, n in enumerate(names)}
        all_ids = set(known.values())
        self._objects: dict[int, list[dict]] = defaultdict(list)
        for entry in listed["annotations"]:
            if entry["category_id"] in class_of or entry["category_id"] not in all_ids:
                self._objects[entry["image_id"]].append(entry)
        self._class_of = class_of
        entries = sorted(listed["images"], key=lambda e: e["id"])
        self._samples: CachedSamples | Subset = CachedSamples(
            [_Entry(e) for e in entries], self._decode, cache_mb, progress
        )
        self.skipped = self._samples.skipped
        if not len(self._samples):
            first = f"; first: {self.skipped[0].name}: {self.skipped[0].reason}" if self.skipped else ""
            raise DatasetError(
                f"none of the {len(entries)} images of {path} is usable in {self._folder}{first}. {_LAYOUT}"
            )
        left_out = {s.name for s in self.skipped}
        self._used = [e for e in entries if str(_Entry(e)) not in left_out]

    def _decode(self, key: _Entry) -> Sample:
        entry = key.fields
        image = decode(self._folder / entry["file_name"], cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        height, width = image.shape[:2]
        if (width, height) != (entry.get("width", width), entry.get("height", height)):
            raise BadSample(f"the image is {width}x{height}, its annotations say {entry['width']}x{entry['height']}")
        for o in self._objects[entry["id"]]:
            if o["category_id"] not in self._class_of:
                raise BadSample(f"an object is of category {o['category_id']}, which the file does not list")
        return self._sample(image, entry)

    @abstractmethod
    def _sample(self, image: np.ndarray, entry: dict) -> Sample:
        """The sample of an entry of `images`; raises BadSample where an annotation is unusable."""

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


class CocoBoxes(_CocoDataset):
    """Images with boxes; crowds are left out. Arguments and errors as for every data set in COCO JSON.

    Attributes:
        image_ids: image ids of the samples, in their order.
        document: the part of the JSON that the samples come from (in a subset, that of the whole), with category ids
            1, 2, ... in the order of `classes`; crowds included, so that an evaluation can ignore them.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.image_ids = tuple(e["id"] for e in self._used)
        self.document = self._relabelled(self._used)

    def subset(self, indices: Sequence[int]) -> CocoBoxes:
        """Some of the images, in this order; figures count these alone."""
        part = copy.copy(self)
        part._samples = Subset(self._samples, indices)
        part.image_ids = tuple(self.image_ids[i] for i in indices)
        return part

    def _relabelled(self, entries: list[dict]) -> dict:
        objects: list[dict] = []
        for entry in entries:
            for o in self._objects[entry["id"]]:
                _, _, width, height = o["bbox"]
                objects.append(
                    {
                        "id": len(objects) + 1,
                        "image_id": entry["id"],
                        "category_id": self._class_of[o["category_id"]] + 1,
                        "bbox": o["bbox"],
                        "area": o.get("area", width * height),
                        "iscrowd": o.get("iscrowd", 0),
                    }
                )
        categories = [{"id": i + 1, "name": c.name} for i, c in enumerate(self.classes)]
        return {"info": {}, "images": entries, "annotations": objects, "categories": categories}

    def _sample(self, image: np.ndarray, entry: dict) -> Sample:
        height, width = image.shape[:2]
        corners, classes = [], []
        for o in self._objects[entry["id"]]:
            box = o.get("bbox")
            if not isinstance(box, list) or len(box) != 4 or not all(_is_number(v) for v in box):
                raise BadSample(f"a bbox is {box!r}; expected x, y, width, height")
            x, y, w, h = box
            if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
                raise BadSample(f"the bbox {box} reaches out of the image of {width}x{height}")
            if o.get("iscrowd", 0) or min(w, h) < _LEAST_SIDE:
                continue
            corners.append((x, y, x + w, y + h))
            classes.append(self._class_of[o["category_id"]])
        boxes = Boxes(np.array(corners, np.float32).reshape(-1, 4), np.array(classes, np.int64))
        return Sample(image, None, entry["file_name"], boxes)


class CocoMasks(_CocoDataset):
    """Images with a label map drawn from the objects' masks; arguments and errors as for every data set in COCO JSON.

    Class 0 is the background, class i + 1 the category i. Where masks overlap the smaller object is seen; crowds are
    void where no object is.
    """

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

    def _sample(self, image: np.ndarray, entry: dict) -> Sample:
        label = np.zeros(image.shape[:2], np.uint8)
        objects = [(o, _mask(o.get(COCO_MASK), image.shape[:2])) for o in self._objects[entry["id"]]]
        # crowds first, then the large objects
        for o, mask in sorted(objects, key=lambda found: (not found[0].get("iscrowd", 0), -int(found[1].sum()))):
            label[mask] = IGNORE if o.get("iscrowd", 0) else self._class_of[o["category_id"]] + 1
        return Sample(image, label, entry["file_name"])


def _mask(segmentation: Any, image_hw: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of polygons or a run-length encoding; BadSample where it is neither."""
    from pycocotools import mask as coco

    height, width = image_hw
    try:
        if isinstance(segmentation, dict):
            if list(segmentation["size"]) != [height, width]:
                raise BadSample(f"a mask is {segmentation['size']}, the image {[height, width]} (height, width)")
            counts = segmentation["counts"]
            if isinstance(counts, list):
                if sum(counts) != height * width or min(counts) < 0:
                    raise BadSample(f"the runs of a mask add up to {sum(counts)} of {height * width} pixels")
                segmentation = coco.frPyObjects(segmentation, height, width)  # type: ignore[call-overload]
            return coco.decode(segmentation).astype(bool)
        polygons = [p for p in segmentation if len(p) >= 6]
        if not polygons or not all(_is_number(v) for p in polygons for v in p) or any(len(p) % 2 for p in polygons):
            raise BadSample("a mask has no polygon of three points or more")
        return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise BadSample(f"a mask is {str(segmentation)[:60]} ({error}); expected polygons or runs") from error


class _Entry:
    """An entry of `images`; its text names the file in messages."""

    def __init__(self, fields: dict) -> None:
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.fields['file_name']} (id {self.fields['id']})"


def _read(path: Path) -> dict:
    """The three lists, checked for the fields that everything else relies on."""
    try:
        document = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f"{path} is not readable JSON ({error}); {_LAYOUT}") from error
    if not isinstance(document, dict):
        raise DatasetError(f"{path} holds a {type(document).__name__}; {_LAYOUT}")
    needed = {"images": ("id", "file_name"), "categories": ("id", "name"), "annotations": ("image_id", "category_id")}
    for part, fields in needed.items():
        entries = document.get(part)
        if not isinstance(entries, list):
            raise DatasetError(f"{path} has no list `{part}`, only {sorted(document)}; {_LAYOUT}")
        for entry in entries:
            if not isinstance(entry, dict) or any(
                not isinstance(entry.get(f), _TYPES.get(f, (int, str))) for f in fields
            ):
                raise DatasetError(f"{path}: an entry of `{part}` is {str(entry)[:120]}; it needs {_described(fields)}")
    if not document["images"]:
        raise DatasetError(f"{path} lists no images; {_LAYOUT}")
    return document


def _described(fields: Sequence[str]) -> str:
    return ", ".join(f"{f} ({'text' if f in _TYPES else 'a number or text'})" for f in fields)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _color(index: int, count: int) -> tuple[int, int, int]:
    """Hues spread evenly, RGB."""
    red, green, blue = colorsys.hsv_to_rgb(index / count, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
