"""Tiny data and recipes, made on the spot."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sparsevit_training.recipe import parse_recipe

CLASSES = "0 Ground 10 20 30\n1 Thing 200 0 0\n2 Rare sign 0 0 250\n3 Void 0 0 0\n"


def draw_scene(rng: np.random.Generator, height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Ground, a bright block, a small blue one and a void strip; colours tell the classes apart."""
    image = rng.integers(60, 100, (height, width, 3), dtype=np.uint8)
    label = np.zeros((height, width), np.uint8)
    x, y = rng.integers(2, width - 26), rng.integers(2, height - 22)
    image[y : y + 18, x : x + 22] = (210, 210, 230)
    label[y : y + 18, x : x + 22] = 1
    image[y + 4 : y + 12, x + 4 : x + 12] = (250, 40, 20)
    label[y + 4 : y + 12, x + 4 : x + 12] = 2
    label[-2:] = 3
    return image, label


def write_folder(root, split: str, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for part in ("images", "labels"):
        (root / split / part).mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text(CLASSES)
    for i in range(count):
        image, label = draw_scene(rng)
        cv2.imwrite(str(root / split / "images" / f"{i:03}.png"), image)
        cv2.imwrite(str(root / split / "labels" / f"{i:03}.png"), label)


@pytest.fixture
def folder(tmp_path):
    """A folder in CamVid layout: 6 training and 3 validation samples of 48x64, three classes and void 3."""
    root = tmp_path / "tiny"
    write_folder(root, "train", 6, seed=1)
    write_folder(root, "val", 3, seed=2)
    return root


@pytest.fixture
def recipe_of(folder, tmp_path):
    """Builds a recipe that trains in a second; keyword arguments replace its top-level keys."""

    def build(**changes):
        document = {
            "name": "tiny",
            "output": str(tmp_path / "run"),
            "seed": 3,
            "input": {"height": 40, "width": 56},
            "model": {
                "embed_dim": 8,
                "depths": [2, 2],
                "num_heads": [1, 2],
                "window_size": 4,
                "drop_path_rate": 0.2,
                "head_channels": 8,
            },
            "data": [{"kind": "semantic_folder", "root": str(folder), "splits": ["train"], "void": [3]}],
            "crops": [{"height": 32, "width": 40, "batch": 2}, {"height": 40, "width": 32, "batch": 3}],
            "augmentation": {"scale": [0.8, 1.3], "rare_classes": [2], "rare_crop_probability": 0.5},
            "optimizer": {"lr": 0.003, "ema_decay": 0.9},
            "schedule": {"steps": 8, "warmup_steps": 2},
            "monitor": {
                "data": {"kind": "semantic_folder", "root": str(folder), "splits": ["val"], "void": [3]},
                "every_steps": 4,
            },
            "precision": "fp32",
            "log_every": 1,
        }
        return parse_recipe({**document, **changes})

    return build


@pytest.fixture
def teacher_file(tmp_path):
    """Two strided convolutions at a fixed 64x64 input, then a reshape that only fits that size."""
    rng = np.random.default_rng(0)
    weights = {"w1": rng.normal(0, 0.1, (5, 3, 4, 4)), "w2": rng.normal(0, 0.3, (7, 5, 2, 2))}
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["s4"], strides=[4, 4]),
        helper.make_node("Relu", ["s4"], ["r4"]),
        helper.make_node("Conv", ["r4", "w2"], ["s8"], strides=[2, 2]),
        helper.make_node("Reshape", ["s8", "shape"], ["output"]),
    ]
    initializers = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([1, 7 * 64], np.int64), "shape"))
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 448])],
        initializers,
    )
    model = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    path = tmp_path / "teacher.onnx"
    onnx.save(model, path)
    return path
