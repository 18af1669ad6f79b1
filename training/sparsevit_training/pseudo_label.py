"""Labels frames of clips and folders with a detector, as COCO JSON: more to learn from where nobody drew boxes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from sparsevit_runtime.errors import DatasetError, SinkError
from sparsevit_runtime.files import write_atomic
from sparsevit_runtime.progress import SILENT, Progress, track

from .datasets import UnlabelledImages
from .peers import Peer

#: Classes of the bundled detector, among COCO's.
ROAD_USERS = ("person", "bicycle", "car", "motorcycle", "bus", "truck")


@dataclass(frozen=True)
class PseudoLabels:
    """What was written.

    Attributes:
        annotations: the JSON file.
        frames: images written.
        empty: those without any object.
        objects: number per class name.
    """

    annotations: Path
    frames: int
    empty: int
    objects: dict[str, int]


def pseudo_label(
    paths: Sequence[str | Path],
    peer: Peer,
    output: str | Path,
    threshold: float = 0.4,
    classes: Sequence[str] = ROAD_USERS,
    frames_per_clip: int = 48,
    progress: Progress = SILENT,
) -> PseudoLabels:
    """Runs a detector over frames and keeps what it is sure of.

    Args:
        paths: clips, images, or folders of either.
        peer: the detector.
        output: folder; an earlier ``annotations.json`` in it is replaced, last of all.
        threshold: objects of a lower score are left out.
        classes: names among the detector's.
        frames_per_clip: taken from each clip, evenly spread.
        progress: listener, told the frames.

    Raises:
        DatasetError: nothing readable, or the detector does not know a class.
        SinkError: the folder cannot be written.
    """
    unknown = [c for c in classes if c not in peer.class_names]
    if unknown:
        raise DatasetError(f"{peer.name} does not know {unknown}; it knows {list(peer.class_names)}")
    frames = UnlabelledImages(paths, frames_per_clip, cache_mb=0)
    output = Path(output)
    try:
        (output / "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"cannot make the folder {output / 'images'} ({error}); name another one") from error
    images: list[dict] = []
    annotations: list[dict] = []
    counts: Counter[str] = Counter()
    for index in track(range(len(frames)), "labelling", progress):
        sample = frames[index]
        name = f"{index:06}.jpg"
        encoded, data = cv2.imencode(".jpg", sample.image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        if not encoded:
            raise SinkError(
                f"OpenCV cannot encode JPEG for {output / 'images' / name}; install an OpenCV build with JPEG"
            )
        write_atomic(output / "images" / name, data.tobytes())
        height, width = sample.image.shape[:2]
        images.append({"id": index + 1, "file_name": name, "width": width, "height": height, "origin": sample.name})
        found = peer(sample.image, threshold)
        for record in found.to_coco(index + 1):
            class_name = peer.class_names[record["category_id"] - 1]
            if class_name not in classes:
                continue
            counts[class_name] += 1
            w, h = record["bbox"][2:]
            category = list(classes).index(class_name) + 1
            annotations.append(
                {**record, "id": len(annotations) + 1, "category_id": category, "area": round(w * h, 2), "iscrowd": 0}
            )
    document = {
        "info": {"description": f"boxes by {peer.name}, score at least {threshold}; not checked by a person"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": c} for i, c in enumerate(classes)],
    }
    path = output / "annotations.json"
    write_atomic(path, (json.dumps(document) + "\n").encode())
    empty = len(images) - len({a["image_id"] for a in annotations})
    return PseudoLabels(path, len(images), empty, {c: counts[c] for c in classes})
