"""What a street segmenter says off its data set: on roads whose labels are coarser than its classes, and on clips.

Coarse mIoU: each pixel's class is counted as the group it is in, on the part of a recipe's `coarse_folder` data that
the recipe keeps out of training. Agreement: share of pixels whose label with windows pruned is that of the dense model.
Flicker: share of pixels that change label from one frame to the next though the picture does not change there.

    python benchmarks/watched.py street-scenes training/recipes/street-scenes-front.yaml data/clips/*.mp4 -o out.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from sparsevit_runtime import Model, load, open_source
from sparsevit_training.datasets import FIRST_GROUP, CoarseFolder, Dataset
from sparsevit_training.metrics import ConfusionMatrix
from sparsevit_training.recipe import load_recipe
from sparsevit_training.recipe_parts import CoarseFolderData

#: Grey levels by which a pixel of a picture that stands still may differ from the frame before.
STILL = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("clips", nargs="*")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.0, 0.6])
    parser.add_argument("--images", type=int, help="images of the coarse data, spread over it; all of them by default")
    parser.add_argument("--frames", type=int, default=30, help="frames of each clip, one after the other")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()

    with load(arguments.model) as model:
        document: dict = {"model": model.card.name, "coarse": [], "clips": []}
        for data in (d for d in load_recipe(arguments.recipe).data if isinstance(d, CoarseFolderData)):
            kept_out = not data.exclude
            watched = CoarseFolder(data.root, data.splits, data.groups, data.every, data.offset, kept_out)
            count = len(watched) if arguments.images is None else min(arguments.images, len(watched))
            part = watched.subset(np.linspace(0, len(watched) - 1, count).astype(int).tolist())
            document["coarse"] += [coarse_row(model, part, watched.groups, s) for s in arguments.sparsity]
        for clip in arguments.clips:
            document["clips"] += clip_rows(model, clip, arguments.sparsity, arguments.frames)
    for row in [*document["coarse"], *document["clips"]]:
        print(json.dumps(row))
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


def coarse_row(model: Model, data: Dataset, groups: tuple[tuple[str, ...], ...], sparsity: float) -> dict:
    """Mean IoU over the groups, in %, and of each."""
    group_of = {name: number for number, names in reversed([*enumerate(groups)]) for name in names}
    table = np.array([group_of.get(name, len(groups)) for name in model.card.class_names])
    matrix = ConfusionMatrix(len(groups) + 1, scored=range(len(groups)))
    for index in range(len(data)):
        label = data[index].require_label()
        truth = np.where(label >= FIRST_GROUP, label.astype(int) - FIRST_GROUP, len(groups))
        truth[truth > len(groups)] = 255  # void
        matrix.update(truth, table[model(data[index].image, sparsity=sparsity).label_map])
    found = {" or ".join(names): round(100 * float(v), 1) for names, v in zip(groups, matrix.iou)}
    about = {"data": data.name, "images": len(data), "sparsity": sparsity}
    return {**about, "coarse mIoU": round(100 * matrix.miou, 1), **found}


def clip_rows(model: Model, clip: str, sparsities: list[float], frames: int) -> list[dict]:
    """Agreement with the dense model, flicker and the share of each class, in %, at each sparsity."""
    names = model.card.class_names
    with open_source(clip) as source:
        images = [frame.image for _, frame in zip(range(frames), source)]
    dense = [model(image, sparsity=0.0).label_map for image in images]
    rows = []
    for sparsity in sparsities:
        labels = dense if sparsity == 0 else [model(image, sparsity=sparsity).label_map for image in images]
        same = np.mean([np.mean(a == b) for a, b in zip(dense, labels, strict=True)])
        shares = np.mean([np.bincount(label.ravel(), minlength=len(names)) / label.size for label in labels], 0)
        row = {"clip": Path(clip).name, "frames": len(images), "sparsity": sparsity}
        row |= {"agreement": round(100 * float(same), 1), "flicker": round(100 * flicker(images, labels), 2)}
        rows.append(row | {n: round(100 * float(s), 1) for n, s in zip(names, shares, strict=True) if s > 0.005})
    return rows


def flicker(images: list[np.ndarray], labels: list[np.ndarray]) -> float:
    """Share, of the pixels that are as they were in the frame before, of those whose label is another; NaN for none."""
    changed = still = 0
    for i in range(1, len(images)):
        unmoved = cv2.absdiff(images[i], images[i - 1]).max(2) <= STILL
        still += int(unmoved.sum())
        changed += int((labels[i] != labels[i - 1])[unmoved].sum())
    return changed / still if still else float("nan")


if __name__ == "__main__":
    main()
