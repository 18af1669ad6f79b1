"""Labels frames of clips and folders with a detector, as COCO JSON: more to learn from where nobody drew boxes.

    python -m sparsevit_training.pseudo_label CLIP... --model yolox_nano_416.onnx --threshold 0.4 -o DIR

writes ``DIR/annotations.json`` and ``DIR/images/``, and says how many frames and objects there are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import track

from sparsevit_runtime.errors import DatasetError, SinkError, SparseViTError
from sparsevit_runtime.files import write_atomic

from .datasets import UnlabelledImages
from .peers import Peer, open_peer

#: Classes of the bundled detector, among COCO's.
ROAD_USERS = ("person", "bicycle", "car", "motorcycle", "bus", "truck")


@dataclass(frozen=True)
class PseudoLabels:
    """What was written.

    Attributes:
        annotations: the JSON file.
        frames: images written.
        empty: those without any object.
        objects: per class name.
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
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> PseudoLabels:
    """Runs a detector over frames and keeps what it is sure of.

    Args:
        paths: clips, images, or folders of either.
        peer: the detector.
        output: folder; an earlier ``annotations.json`` in it is replaced, last of all.
        threshold: objects of a lower score are left out.
        classes: names among the detector's.
        frames_per_clip: taken from each clip, evenly spread.
        progress: given the indices, returns them while showing progress.

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
    images, annotations = [], []
    counts: Counter[str] = Counter()
    indices = range(len(frames))
    for index in progress(indices) if progress else indices:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="pseudo_label", description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", metavar="CLIP", help="clips, images, or folders of either")
    parser.add_argument("--model", required=True, help="an ONNX detector: YOLOX, NanoDet or FastestDet")
    parser.add_argument("--threshold", type=_share, default=0.4, help="least score, 0 to 1 [0.4]")
    parser.add_argument("--classes", default=",".join(ROAD_USERS), help="names, by commas")
    parser.add_argument("--frames", type=_count, default=48, help="per clip [48]")
    parser.add_argument("-o", "--output", required=True, help="folder to write")
    options = parser.parse_args(arguments)
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    try:
        made = pseudo_label(
            options.paths,
            open_peer(options.model),
            options.output,
            options.threshold,
            tuple(c.strip() for c in options.classes.split(",")),
            options.frames,
            lambda indices: track(indices, "labelling", console=errors),
        )
    except SparseViTError as error:
        errors.print(f"error: {error}", soft_wrap=True, markup=False)
        return 1
    console.print(f"{made.frames} frames, {made.empty} of them without an object; threshold {options.threshold}")
    for name, count in made.objects.items():
        console.print(f"  {name}: {count}")
    console.print(f"wrote {made.annotations}", soft_wrap=True)
    return 0


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
