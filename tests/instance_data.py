"""Tiny COCO data of boxes and discs, whose masks say what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

NAMES = ("box", "disc")
COLORS = ((40, 40, 240), (240, 60, 40))  # BGR


def write_shapes(root: Path, count: int, seed: int = 1, size_wh: tuple[int, int] = (128, 128)) -> dict[str, Any]:
    """Noise with two shapes per image, one in either half, as polygons; returns an entry of a recipe's data."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    (root / "images").mkdir(parents=True)
    images, objects = [], []
    for i in range(count):
        picture = rng.integers(60, 110, (height, width, 3), dtype=np.uint8)
        for half in range(2):
            kind, side = int(rng.integers(2)), int(rng.integers(32, 52))
            x = int(rng.integers(0, width // 2 - side)) + half * width // 2
            y = int(rng.integers(0, height - side))
            mask = np.zeros((height, width), np.uint8)
            if kind:
                cv2.circle(mask, (x + side // 2, y + side // 2), side // 2, 1, -1)
            else:
                mask[y : y + side, x : x + side] = 1
            picture[mask > 0] = COLORS[kind]
            (outline,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": i + 1,
                    "category_id": kind + 1,
                    "bbox": list(cv2.boundingRect(outline)),
                    "segmentation": [outline.flatten().tolist()],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                }
            )
        cv2.imwrite(str(root / "images" / f"{i}.png"), picture)
        images.append({"id": i + 1, "file_name": f"{i}.png", "width": width, "height": height})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    document = {"images": images, "annotations": objects, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(document))
    return {
        "kind": "coco",
        "annotations": str(root / "annotations.json"),
        "images": str(root / "images"),
        "categories": list(NAMES),
    }
