"""A job's rows as one COCO JSON document."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from ..errors import BatchError
from ..tasks.segmentation import COCO_MASK, Segmentation
from .inputs import is_image
from .places import is_remote

Row = Mapping[str, Any]


def names_in(sources: Sequence[str]) -> Callable[[str, int], str]:
    """What names a frame: the path of its image below the folder that all sources are in, or ``clip.mp4#12``."""
    folders = [source.rpartition("/")[0] for source in sources]
    remote = any(map(is_remote, sources))
    common = "" if remote else os.path.commonpath([os.path.abspath(folder) for folder in folders])
    if remote and len(set(folders)) == 1:
        common = folders[0]

    def name(source: str, frame_index: int) -> str:
        whole = source if is_remote(source) else os.path.abspath(source)
        inside = whole[len(common) :].lstrip("/") if whole.startswith(common) else whole
        return inside if is_image(source) else f"{inside}#{frame_index}"

    return name


def write_coco(
    rows: Iterable[Row], names: tuple[str, ...], name_of: Callable[[str, int], str], write: Callable[[str], object]
) -> None:
    """Writes a document as `sinks.coco.CocoSink` does: images numbered from 1, categories, what was found.

    The annotations wait in a temporary file until all images are written; little is held in memory.

    Args:
        rows: rows of the job.
        names: class names.
        name_of: says how an image is called, of its source and index, see `names_in`.
        write: takes one piece of text after the other.

    Raises:
        BatchError: the rows hold nothing that COCO has a form for.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", prefix="sparsevit-") as annotations:
        write('{"images": [')
        annotated = 0
        for number, row in enumerate(rows, start=1):
            file = name_of(row["source"], row["frame_index"])
            image = {"id": number, "file_name": file, "width": row["width"], "height": row["height"]}
            write((", " if number > 1 else "") + json.dumps(image))
            for found in _annotations(row, number, names):
                annotated += 1
                annotations.write((", " if annotated > 1 else "") + json.dumps({"id": annotated, **found}))
        categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
        write(f'], "categories": {json.dumps(categories)}, "annotations": [')
        annotations.seek(0)
        while block := annotations.read(1 << 20):
            write(block)
        write("]}\n")


def _annotations(row: Row, number: int, names: tuple[str, ...]) -> list[dict[str, Any]]:
    if "boxes" in row:
        return _objects(row, number)
    if "label_map" in row:
        label_map = cv2.imdecode(np.frombuffer(row["label_map"], np.uint8), cv2.IMREAD_GRAYSCALE)
        palette = np.zeros((len(names), 3), np.uint8)
        answer = Segmentation(
            image_wh=(row["width"], row["height"]), label_map=np.asarray(label_map), names=names, palette=palette
        )
        return answer.to_coco(number, masks="rle")
    raise BatchError("COCO has no form for these answers; read the Parquet files")


def _objects(row: Row, number: int) -> list[dict[str, Any]]:
    found = []
    for i, (box, score, class_id) in enumerate(zip(row["boxes"], row["scores"], row["class_ids"], strict=True)):
        x1, y1, x2, y2 = np.asarray(box, np.float32)
        bbox = [round(float(value), 3) for value in (x1, y1, x2 - x1, y2 - y1)]
        record: dict[str, Any] = {"area": bbox[2] * bbox[3], "iscrowd": 0, "image_id": number}
        record |= {"category_id": class_id + 1, "bbox": bbox, "score": round(float(np.float32(score)), 5)}
        if "masks" in row:
            mask = row["masks"][i]
            record |= {COCO_MASK: {"size": mask["size"], "counts": mask["counts"]}, "area": mask["area"]}
        found.append(record)
    return found
