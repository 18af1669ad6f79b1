"""A file of COCO JSON (https://cocodataset.org/#format-data), as it is meant."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.files import read_bounded

from .base import SkippedSample
from .coco_fields import id_key, is_number

LAYOUT = (
    "expected COCO JSON: `images` (id, file_name, width, height), `categories` (id, name) and `annotations` (image_id, "
    "category_id, bbox as x, y, width, height in pixels; for masks segmentation)"
)
_NEEDED = {"images": ("id", "file_name"), "categories": ("id", "name"), "annotations": ()}
#: No annotations are as large; what has no end is none.
_MOST_BYTES = 8 << 30
#: Fields that are text; the others are ids.
_TEXTS = ("file_name", "name")


@dataclass
class Entry:
    """An image and its objects; its text names the file in messages.

    Attributes:
        id: number or text as the file has it.
        file_name: relative to the folder of the images.
        size_wh: pixels, where the file says so.
        objects: entries of `annotations`, each of a known category.
    """

    id: int | str
    file_name: str
    size_wh: tuple[int, int] | None
    objects: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.file_name} (id {self.id})"


class CocoFile:
    """What a file lists, whatever the types of its ids, each image once.

    Args:
        path: the file.

    Attributes:
        categories: the ids, as `id_key` writes them, of each name, in the order of the ids. Several categories of one
            name are one.
        images: the images in the order of their ids.
        skipped: those that cannot be told apart, or that are no images.
        left_out: objects that belong nowhere, by the reason.

    Raises:
        DatasetError: not readable, or another layout.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        document = _read(self.path)
        self.categories = self._categories(document["categories"])
        self.left_out: Counter[str] = Counter()
        self.skipped: list[SkippedSample] = []
        self.images = self._images(document["images"], self._objects(document["annotations"]))

    def _categories(self, listed: list[Any]) -> dict[str, list[str]]:
        name_of: dict[str, str] = {}
        for entry in sorted(filter(_has(_NEEDED["categories"]), listed), key=lambda c: _order(c["id"])):
            key, name = str(id_key(entry["id"])), entry["name"]
            if name_of.setdefault(key, name) != name:
                raise DatasetError(
                    f"{self.path} has two categories of id {key}, {name_of[key]!r} and {name!r}; renumber one of them "
                    "and its annotations"
                )
        names: dict[str, list[str]] = {}
        for key, name in name_of.items():
            names.setdefault(name, []).append(key)
        return names

    def _objects(self, listed: list[Any]) -> dict[str, list[dict[str, Any]]]:
        """Objects of known categories by the image's id."""
        known = {key for keys in self.categories.values() for key in keys}
        objects: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in listed:
            image, category = (
                (id_key(entry.get(f)) for f in ("image_id", "category_id")) if isinstance(entry, dict) else (None, None)
            )
            if image is None or category is None:
                self.left_out["without image_id or category_id"] += 1
            elif category not in known:
                self.left_out["of a category that the file does not list"] += 1
            else:
                objects[image].append({**entry, "category_id": category})
        return objects

    def _images(self, listed: list[Any], objects: dict[str, list[dict[str, Any]]]) -> list[Entry]:
        by_id: dict[str, list[Entry]] = defaultdict(list)
        for entry in listed:
            if not _has(_NEEDED["images"])(entry):
                reason = f"an entry of `images` needs {_described(_NEEDED['images'])}"
                self.skipped.append(SkippedSample(str(entry)[:120], reason))
                continue
            size = entry.get("width"), entry.get("height")
            size_wh = (int(size[0]), int(size[1])) if all(is_number(v) and v > 0 for v in size) else None
            by_id[str(id_key(entry["id"]))].append(Entry(entry["id"], entry["file_name"], size_wh))
        by_name: dict[str, Entry] = {}
        for key, entries in by_id.items():
            if len({e.file_name for e in entries}) > 1:
                reason = f"{len(entries)} images have the id {key}; whose objects are whose cannot be told"
                self.skipped += [SkippedSample(str(e), reason) for e in entries]
                objects.pop(key, None)
                continue
            # one picture, even under several ids
            first = by_name.setdefault(os.path.normpath(entries[0].file_name), entries[0])
            first.objects += objects.pop(key, [])
        if lost := sum(map(len, objects.values())):
            self.left_out["of an image that the file does not list"] += lost
        return sorted(by_name.values(), key=lambda e: _order(e.id))


def _read(path: Path) -> dict[str, list[Any]]:
    """The three lists."""
    try:
        document = json.loads(read_bounded(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not readable JSON ({str(error)[:200]}); {LAYOUT}") from error
    if not isinstance(document, dict):
        raise DatasetError(f"{path} holds a {type(document).__name__}; {LAYOUT}")
    for part, fields in _NEEDED.items():
        entries = document.get(part)
        if not isinstance(entries, list):
            raise DatasetError(f"{path} has no list `{part}`, only {sorted(document)[:20]}; {LAYOUT}")
        if entries and fields and not any(map(_has(fields), entries)):
            raise DatasetError(
                f"{path}: an entry of `{part}` is {str(entries[0])[:120]}; it needs {_described(fields)}"
            )
    if not document["images"]:
        raise DatasetError(f"{path} lists no images; {LAYOUT}")
    return document


def _has(fields: Sequence[str]) -> Any:
    """A test for entries that have these fields."""

    def test(entry: object) -> bool:
        return isinstance(entry, dict) and all(
            isinstance(entry.get(f), str) if f in _TEXTS else id_key(entry.get(f)) is not None for f in fields
        )

    return test


def _order(value: object) -> tuple[bool, int, str]:
    """Numbers by value, then texts."""
    text = str(id_key(value))
    return (False, int(text), "") if text.isascii() and text.isdigit() and len(text) < 300 else (True, 0, text)


def _described(fields: Sequence[str]) -> str:
    return ", ".join(f"{f} ({'text' if f in _TEXTS else 'a number or text'})" for f in fields)
