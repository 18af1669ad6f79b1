"""What a model makes of footage that it is watched on: clips and folders that nobody labelled.

A detector of others says which persons and cars there are; that is agreement with it, not truth. For each clip, and for
all of them together, at each sparsity:

- detectors: AP50 and, at the threshold of the model's card, recall and precision, each object at an IoU of 0.5; how far
  what is found is what a dense pass finds;
- segmenters: pixels labelled as in a dense pass; flicker, pixels that change their label from one frame to the next
  though the picture does not change there;
- both: which share of the area of persons and cars each stage computes, beside its share of the frame, as means over
  the stage's blocks. A model that looks at what matters computes more of the former.

    python benchmarks/watched_objects.py road-users CLIP FOLDER ... --teacher yolox_nano_416.onnx -o watched.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from sparsevit_runtime import Detections, Segmentation, load
from sparsevit_runtime.model import Model
from sparsevit_runtime.windows.activity import WindowActivity
from sparsevit_training.average_precision import LEAST_SCORE, average_precision
from sparsevit_training.box_agreement import box_agreement, matches
from sparsevit_training.datasets.images import VIDEO_SUFFIXES
from sparsevit_training.datasets.semantic_folder import IMAGE_SUFFIXES
from sparsevit_training.peers import Peer, open_peer

#: What is looked for: among COCO's classes, and among those of the model where it has them.
WATCHED = ("person", "car")
#: Least score of the teacher's objects.
TEACHER_SCORE = 0.4
#: Change of brightness, of 255, up to which a pixel of two frames counts as the same, both smoothed.
SAME_PIXEL = 3


@dataclass
class Tally:
    """Counts of one clip, or of all, at one sparsity.

    Attributes:
        truths, found: the teacher's objects and those of the model, above the least score, frame by frame.
        ours, dense: what the model finds above its threshold, at this sparsity and at none.
        alike, labels: pixels labelled as in a dense pass, and all.
        flickering, still: pixels that change their label where the picture does not change, and all of those.
        computed: for each stage, area computed of objects, area of objects, area computed of frames, area of frames.
    """

    truths: list[Detections] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)
    ours: list[Detections] = field(default_factory=list)
    dense: list[Detections] = field(default_factory=list)
    alike: int = 0
    labels: int = 0
    flickering: int = 0
    still: int = 0
    computed: dict[int, np.ndarray] = field(default_factory=dict)

    def add_activity(self, activity: WindowActivity, objects: np.ndarray) -> None:
        """Counts which part of the objects, (H, W) bool, and of the frame was computed."""
        for number, stage in enumerate(activity.stages):
            for block in range(len(stage.computed)):
                mask = activity.frame_mask(number, block)
                areas = np.array([(mask & objects).sum(), objects.sum(), mask.sum(), mask.size], np.int64)
                self.computed[number] = self.computed.get(number, np.zeros(4, np.int64)) + areas

    def add_labels(self, label_map: np.ndarray, dense: np.ndarray) -> None:
        self.alike += int((label_map == dense).sum())
        self.labels += label_map.size

    def add_change(self, before: np.ndarray, after: np.ndarray, still: np.ndarray) -> None:
        """Counts the label maps of two frames in a row where the picture stays, (H, W) bool."""
        self.flickering += int((before != after)[still].sum())
        self.still += int(still.sum())

    def row(self) -> dict[str, Any]:
        """Figures, 0..1; only those that there are."""
        said: dict[str, Any] = {}
        if self.found:
            said |= _detection_figures(self)
        if self.labels:
            said["label_agreement"] = round(self.alike / self.labels, 4)
        if self.still:
            said["flicker"] = round(self.flickering / self.still, 4)
        said["computed"] = [
            {"stage": stage, "objects": round(float(a / max(b, 1)), 4), "frame": round(float(c / d), 4)}
            for stage, (a, b, c, d) in sorted(self.computed.items())
        ]
        return said


def _detection_figures(tally: Tally) -> dict[str, Any]:
    names = tally.found[0].names
    images, objects, records = [], [], []
    hits = counted = 0
    for number, (truth, found, ours) in enumerate(zip(tally.truths, tally.found, tally.ours, strict=True), 1):
        images.append({"id": number, "width": truth.image_wh[0], "height": truth.image_wh[1]})
        objects += [{**record, "area": record["bbox"][2] * record["bbox"][3]} for record in truth.to_coco(number)]
        records += found.to_coco(number)
        hits += int((matches(ours, truth) >= 0).sum())
        counted += len(ours)
    document = {
        "info": {},
        "images": images,
        "annotations": [{**each, "id": i, "iscrowd": 0} for i, each in enumerate(objects, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)],
    }
    precision = average_precision(document, records) if objects else None
    figures: dict[str, Any] = {"objects": len(objects), "agreement": round(box_agreement(tally.ours, tally.dense), 4)}
    if precision is not None:
        figures |= {
            "ap50": round(precision.ap50, 4),
            "ap50_per_class": {n: round(v, 4) for n, v in zip(names, precision.per_class50) if v == v},
            "recall": round(hits / len(objects), 4),
        }
    return figures | {"precision": round(hits / counted, 4) if counted else None}


def watched_objects(result: Detections) -> Detections:
    """The persons and cars among what was found, their classes numbered as in `WATCHED`."""
    chosen = np.array([result.names[c] in WATCHED for c in result.class_id], bool)
    part = result[chosen]
    return Detections(
        xyxy=part.xyxy,
        confidence=part.confidence,
        class_id=np.array([WATCHED.index(result.names[c]) for c in part.class_id], np.int64),
        names=WATCHED,
        image_wh=result.image_wh,
    )


def area_of(objects: Detections) -> np.ndarray:
    """(H, W) bool, where the objects' boxes are."""
    width, height = objects.image_wh
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in objects.xyxy.round().astype(int):
        mask[max(y0, 0) : y1, max(x0, 0) : x1] = True
    return mask


def frames_of(path: Path, count: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Frames (H, W, 3) BGR spread evenly over a clip, each with the next one; images of a folder, each with None."""
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        for image in images[:: max(1, len(images) // count)][:count]:
            frame = cv2.imread(str(image))
            if frame is not None:
                yield frame, None
        return
    capture = cv2.VideoCapture(str(path))
    step = max(2, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) // count)
    first: np.ndarray | None = None
    index = given = 0
    while given < count:
        read, frame = capture.read()
        if not read:
            break
        if index % step == 0:
            first = frame
        elif index % step == 1 and first is not None:
            yield first, frame
            given += 1
        index += 1
    capture.release()


def still_pixels(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(H, W) bool: where two frames show the same."""
    grey = [cv2.GaussianBlur(cv2.cvtColor(f, cv2.COLOR_BGR2GRAY), (5, 5), 0).astype(np.int16) for f in (before, after)]
    return np.asarray(np.abs(grey[0] - grey[1]) <= SAME_PIXEL)


def watch(
    model: Model, teacher: Peer, clips: Sequence[Path], sparsities: Sequence[float], count: int
) -> list[dict[str, Any]]:
    """Rows of every clip and of all together (``clip`` "all"), for each sparsity; `count` frames of each."""
    least = model.runner.least_score()
    every = {s: Tally() for s in sparsities}
    rows = []
    for clip in clips:
        here = {s: Tally() for s in sparsities}
        number = 0
        for frame, following in track(list(frames_of(clip, count)), clip.name):
            number += 1
            truth = watched_objects(teacher(frame, TEACHER_SCORE))
            _watch_frame(model, frame, following, truth, least, {s: (here[s], every[s]) for s in sparsities})
        rows += [{"clip": clip.name, "frames": number, "sparsity": s, **tally.row()} for s, tally in here.items()]
    return rows + [{"clip": "all", "sparsity": s, **tally.row()} for s, tally in every.items()]


def _watch_frame(
    model: Model,
    frame: np.ndarray,
    following: np.ndarray | None,
    truth: Detections,
    least: float,
    tallies: dict[float, tuple[Tally, Tally]],
) -> None:
    dense = model(frame, threshold=LEAST_SCORE)
    objects = area_of(truth)
    for sparsity, both in tallies.items():
        result = model(frame, sparsity, threshold=LEAST_SCORE, activity=True)
        after = model(following, sparsity) if following is not None and isinstance(result, Segmentation) else None
        for tally in both:
            assert result.activity is not None
            tally.add_activity(result.activity, objects)
            if isinstance(result, Segmentation) and isinstance(dense, Segmentation):
                tally.add_labels(result.label_map, dense.label_map)
                if isinstance(after, Segmentation) and following is not None:
                    tally.add_change(result.label_map, after.label_map, still_pixels(frame, following))
            if isinstance(result, Detections) and isinstance(dense, Detections):
                found, whole = watched_objects(result), watched_objects(dense)
                tally.truths.append(truth)
                tally.found.append(found)
                tally.ours.append(found[found.confidence >= least])
                tally.dense.append(whole[whole.confidence >= least])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="bundled model, or a file")
    parser.add_argument("clips", nargs="+", type=Path, help=f"folders of images, and {', '.join(VIDEO_SUFFIXES)}")
    parser.add_argument("--teacher", type=Path, required=True, help="an ONNX detector: YOLOX, NanoDet or FastestDet")
    parser.add_argument("--sparsities", default="0,0.6", help="by commas [0,0.6]")
    parser.add_argument("--frames", type=int, default=40, help="of each clip [40]")
    parser.add_argument("--threads", type=int, default=None, help="of either model")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    options = parser.parse_args()
    sparsities = [float(s) for s in options.sparsities.split(",")]
    with load(options.model, threads=options.threads) as model:
        teacher = open_peer(options.teacher, options.threads)
        rows = watch(model, teacher, options.clips, sparsities, options.frames)
        document = {
            "schema": 1,
            "model": model.card.name,
            "teacher": teacher.name,
            "teacher_score": TEACHER_SCORE,
            "threshold": model.runner.least_score(),
            "rows": rows,
        }
    if options.output is not None:
        options.output.write_text(json.dumps(document, indent=1) + "\n")
    for row in rows:
        computed = " ".join(f"{c['objects']:.2f}/{c['frame']:.2f}" for c in row["computed"])
        figures = " ".join(f"{k} {v}" for k, v in row.items() if isinstance(v, float))
        print(f"{row['clip']:36} {figures} computed {computed}")


if __name__ == "__main__":
    main()
