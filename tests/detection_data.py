"""Tiny COCO data whose objects show in their colours, and ONNX files that answer like known detectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAMES = ("person", "car")
COLORS = ((40, 40, 240), (240, 60, 40))  # BGR
COCO_INDEX = {"person": 0, "car": 2}


def write_coco(
    annotations: Path, images: Path, count: int = 4, size_wh: tuple[int, int] = (96, 64), seed: int = 3
) -> dict:
    """Noise with one or two bright rectangles per image, boxes and polygons; returns the document."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    images.mkdir(parents=True, exist_ok=True)
    annotations.parent.mkdir(parents=True, exist_ok=True)
    categories = [{"id": 7, "name": "car"}, {"id": 9, "name": "person"}]
    entries, objects = [], []
    for i in range(count):
        image = rng.integers(60, 110, (height, width, 3), dtype=np.uint8)
        for half in range(1 + i % 2):
            kind = int(rng.integers(2))
            w, h = (int(s * rng.uniform(*part)) for s, part in ((width, (0.21, 0.35)), (height, (0.38, 0.68))))
            x = int(rng.integers(0, width // 2 - w)) + half * width // 2
            y = int(rng.integers(0, height - h))
            image[y : y + h, x : x + w] = COLORS[kind]
            category = {"person": 9, "car": 7}[NAMES[kind]]
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": 10 + i,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
        cv2.imwrite(str(images / f"{i}.png"), image)
        entries.append({"id": 10 + i, "file_name": f"{i}.png", "width": width, "height": height})
    document = {"images": entries, "annotations": objects, "categories": categories}
    annotations.write_text(json.dumps(document))
    return document


def write_peer(
    path: Path, kind: str, objects: Sequence[tuple[tuple[float, float, float, float], int, float]], side: int = 64
) -> Path:
    """A detector that answers the same for every image.

    Args:
        kind: yolox, nanodet or fastestdet.
        objects: xyxy in input pixels, COCO class index and score.
        side: of the square input.
    """
    outputs = {"yolox": _yolox, "nanodet": _nanodet, "fastestdet": _fastestdet}[kind](objects, side)
    nodes, constants, infos = [], [], []
    for i, value in enumerate(outputs):
        constants.append(numpy_helper.from_array(value.astype(np.float32), f"c{i}"))
        nodes.append(helper.make_node("Identity", [f"c{i}"], [f"o{i}"]))
        infos.append(helper.make_tensor_value_info(f"o{i}", TensorProto.FLOAT, value.shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])
    graph = helper.make_graph(nodes, kind, [image], infos, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _yolox(objects, side):
    stride, columns = 8, side // 8
    out = np.zeros((1, sum((side // s) ** 2 for s in (8, 16, 32)), 85))
    for (x0, y0, x1, y1), kind, score in objects:
        cx, cy = (x0 + x1) / 2 / stride, (y0 + y1) / 2 / stride
        row = out[0, int(cy) * columns + int(cx)]
        row[:4] = cx - int(cx), cy - int(cy), np.log((x1 - x0) / stride), np.log((y1 - y0) / stride)
        row[4], row[5 + kind] = 1.0, score
    return [out]


def _nanodet(objects, side):
    stride, columns = 8, side // 8
    counts = [(side // s) ** 2 for s in (8, 16, 32)]
    scores, sides = [np.zeros((1, n, 80)) for n in counts], [np.zeros((1, n, 4, 8)) for n in counts]
    for (x0, y0, x1, y1), kind, score in objects:
        column, row = int((x0 + x1) / 2 // stride), int((y0 + y1) / 2 // stride)
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        index = row * columns + column
        scores[0][0, index, kind] = score
        for i, distance in enumerate((x - x0, y - y0, x1 - x, y1 - y)):
            low = int(distance / stride)
            part = distance / stride - low
            sides[0][0, index, i] = -50.0
            sides[0][0, index, i, low] = np.log(1 - part) if part < 1 else -50.0
            if part:
                sides[0][0, index, i, low + 1] = np.log(part)
    return [*scores, *(s.reshape(1, -1, 32) for s in sides)]


def _fastestdet(objects, side):
    cells = side // 16
    out = np.zeros((1, 85, cells, cells))
    out[:, 3:5] = -20.0
    for (x0, y0, x1, y1), kind, score in objects:
        cx, cy = (x0 + x1) / 2 / side * cells, (y0 + y1) / 2 / side * cells
        cell = out[0, :, int(cy), int(cx)]
        share = np.array([(x1 - x0) / side, (y1 - y0) / side])
        cell[0] = score
        cell[1:3] = np.arctanh([cx - int(cx), cy - int(cy)])
        cell[3:5] = np.log(share / (1 - share))
        cell[5 + kind] = score
    return [out]
