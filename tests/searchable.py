"""A small model with data on which every plan scores otherwise: the labels are what the model says with all windows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from networks import randomize
from sparsevit_exporter import ExportOptions, SegmentationModel, SparseViT, export
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.model import load

#: Two stages with one and two block pairs.
DEPTHS = (2, 4)
HEIGHT, WIDTH = 96, 128
WINDOW = 4
CLASSES = ("road", "car", "tree")


def write_model(path: Path, seed: int = 3) -> Path:
    """Exports a network of random weights."""
    net = SegmentationModel(SparseViT(8, DEPTHS, (1, 2), window_size=WINDOW), len(CLASSES), 8)
    randomize(net, seed, bias=0.3)
    cards = [ClassCard(name=name, color=(60 * i, 200, 90)) for i, name in enumerate(CLASSES)]
    report = export(net, path, ExportOptions(HEIGHT, WIDTH, name="searchable"), cards)
    assert report.holds
    return path


def write_data(root: Path, model_path: Path, **counts: int) -> Path:
    """A folder in CamVid layout with a split per keyword; its images are blobs of colour."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(f"{i} {n} {60 * i} 200 90" for i, n in enumerate(CLASSES)) + "\n")
    with load(model_path, threads=1) as model:
        for number, (split, count) in enumerate(counts.items()):
            for part in ("images", "labels"):
                (root / split / part).mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng(number)
            for i in range(count):
                coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
                image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
                cv2.imwrite(str(root / split / "images" / f"{i}.png"), image)
                cv2.imwrite(str(root / split / "labels" / f"{i}.png"), model(image).label_map)
    return root
