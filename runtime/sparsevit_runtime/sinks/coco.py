"""Results as one COCO JSON document, which annotation tools and pycocotools read."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SinkError
from ..files import resolve_links, write_atomic
from .base import Sink
from .paths import check_target

if TYPE_CHECKING:
    from ..tasks import Result


class CocoSink(Sink):
    """Writes the document when it is closed: images numbered from 1, categories, and what was found in each image, with
    scores where there are any.

    An image's `file_name` is the name of the picture that it was read from, or ``clip.mp4#12`` for a frame of a video.

    Args:
        path: path of the file, .json.
        overwrite: replaces a file that this program did not write.
        masks: form of masks, as `Result.masks` takes it; None for the usual one.
        live: the frames come from a live source.

    Raises:
        SinkError: the source is live, the folder is missing or cannot be written, or the file may not be replaced.
    """

    def __init__(self, path: Path, overwrite: bool = True, masks: str | None = None, *, live: bool = False):
        self.name = str(path)
        if live:
            raise SinkError(
                f"{self.name} is one document that is written at the end, which a kill would lose: record a camera as "
                f"{path.with_suffix('.jsonl').name}"
            )
        self._path = resolve_links(path)
        check_target(self._path, overwrite)
        self._masks = {} if masks is None else {"masks": masks}
        self._names: tuple[str, ...] = ()
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._closed = False

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        if self._closed:
            raise SinkError(f"{self.name} is closed; open a new sink")
        to_coco: Callable[..., list[dict[str, Any]]] | None = getattr(result, "to_coco", None)
        if to_coco is None:
            raise SinkError(f"COCO has no form for what {type(result).__name__} says; write {self._path.stem}.jsonl")
        if self._masks and "masks" not in inspect.signature(to_coco).parameters:
            raise SinkError(f"{type(result).__name__} have no masks; leave ?masks= out")
        self._names = getattr(result, "names", ())
        number = len(self._images) + 1
        width, height = result.image_wh
        place = Path(result.file).name if result.file else f"{Path(result.source).name}#{result.frame_index}"
        self._images.append({"id": number, "file_name": place, "width": width, "height": height})
        for found in to_coco(number, **self._masks):
            whole = {
                "id": len(self._annotations) + 1,
                "area": found["bbox"][2] * found["bbox"][3],
                "iscrowd": 0,
                **found,
            }
            self._annotations.append(whole)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        document = {
            "images": self._images,
            "categories": [{"id": i, "name": name} for i, name in enumerate(self._names, start=1)],
            "annotations": self._annotations,
        }
        write_atomic(self._path, (json.dumps(document) + "\n").encode())

    def abort(self) -> None:
        self._closed = True
