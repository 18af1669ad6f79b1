"""Tiny model files that honour the contract of an exported one, built node by node.

A window's score is its mean brightness (borders of the padded map are black), a label is the blue value divided by 32,
read at the centre of each stride; so tests know every answer from the pixels. With no window kept in the first pair,
all labels are 7.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sparsevit_runtime.card import CARD_KEY, ModelCard
from sparsevit_runtime.windows.geometry import PATCH_SIZE, StageGeometry
from sparsevit_runtime.windows.plan import kept_windows

CLASSES = ("sky", "road", "car", "tree", "wall", "sign", "person", "other")
WINDOW = 2
#: Name of the input beside the pixels, where there is one.
MATRIX = "homography"
DEPTHS = (2, 4)


def card_document(
    task: str = "segmentation",
    hw: tuple[int, int] = (32, 48),
    fixed: tuple[tuple[float, ...], ...] | None = None,
    layout: str = "camera",
    resize: str = "letterbox",
) -> dict:
    """The card of a tiny model, as a dictionary to alter."""
    return {
        "schema_version": 1,
        "name": "tiny",
        "task": task,
        "precision": "fp32",
        "input": {
            "height": hw[0],
            "width": hw[1],
            "layout": layout,
            "resize": resize,
            "mean": [100.0, 110.0, 120.0],
            "std": [50.0, 60.0, 70.0],
        },
        "windows": {"window_size": WINDOW, "depths": list(DEPTHS), "fixed": fixed},
        "architecture": {"embed_dim": 1, "num_heads": [1, 1], "parameters": 0},
        "classes": [{"name": n, "color": [i * 30, 255 - i * 30, 128]} for i, n in enumerate(CLASSES)],
    }


class _Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count = 0

    def constant(self, value: object, dtype: type) -> str:
        self._count += 1
        name = f"c{self._count}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def add(self, op: str, *inputs: str, out: str | None = None, outputs: int = 1, **attributes: object) -> str:
        self._count += 1
        names = [out or f"v{self._count}"] if outputs == 1 else [f"v{self._count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[-1]

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)


def write_model(
    path: Path,
    task: str = "segmentation",
    hw: tuple[int, int] = (32, 48),
    stride: int = 4,
    fixed: tuple[tuple[float, ...], ...] | None = None,
    layout: str = "camera",
    resize: str = "letterbox",
    boxes: list[tuple[float, float, float, float]] = (),
    scores: list[float] = (),
    classes: list[int] = (),
    masks: np.ndarray | None = None,
    card: str | None = None,
    drop_output: str | None = None,
    fails: bool = False,
    matrix: bool = False,
) -> Path:
    """Writes a tiny model.

    Args:
        stride: input pixels per label.
        boxes, scores, classes: what a detector answers for every image, in input pixels.
        masks: (N, h, w) probabilities over each box, for the task of instances.
        card: other text for the metadata; an empty one leaves the card out.
        drop_output: an output the graph lacks although the card promises it.
        fails: every run breaks inside the graph.
        matrix: a 3x3 matrix comes with each frame; its upper left value is added to the labels.
    """
    document = card_document(task, hw, fixed, layout, resize)
    if matrix:
        document["inputs"] = [{"name": MATRIX, "dtype": "float32", "shape": [3, 3]}]
    parsed = ModelCard.model_validate(document)
    graph = _Graph()
    if layout == "camera":
        grey = graph.add("ReduceMean", graph.add("Cast", "image", to=TensorProto.FLOAT), graph.ints(3), keepdims=0)
        blue = graph.add("Slice", "image", graph.ints(0), graph.ints(1), graph.ints(3))  # (B, H, W, 1)
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *hw, 3])
    else:
        grey = graph.add("ReduceMean", "image", graph.ints(1), keepdims=0)
        blue = graph.add("Unsqueeze", grey, graph.ints(3))
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, *hw])
    grey = graph.add("Unsqueeze", grey, graph.ints(1))  # (B, 1, H, W)
    outputs = _answers(graph, task, hw, stride, blue, grey, fixed, boxes, scores, classes, masks, fails)
    for i, stage in enumerate(parsed.stages):
        for parity, prefix in enumerate(("windows", "shifted_windows")):
            longest = stage.windows
            if fixed is not None:
                counts = [kept_windows(stage.windows, r) for r in fixed[i][parity::2]]
                longest = max((k for k in counts if k < stage.windows), default=0)
            if longest:
                name = f"{prefix}{i}"
                _order(graph, grey, stage, PATCH_SIZE << i, stage.shift * parity, longest, name)
                outputs.append((name, TensorProto.INT64, ["batch", longest]))
    if matrix:
        _add_matrix(graph)
    infos = [helper.make_tensor_value_info(*o) for o in outputs if o[0] != drop_output]
    inputs = [image]
    if fixed is None:
        inputs.append(helper.make_tensor_value_info("keep", TensorProto.INT64, [sum(s.pairs for s in parsed.stages)]))
    if matrix:
        inputs.append(helper.make_tensor_value_info(MATRIX, TensorProto.FLOAT, ["batch", 3, 3]))
    model = helper.make_model(
        helper.make_graph(graph.nodes, "tiny", inputs, infos, graph.constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    text = parsed.to_json() if card is None else card
    if text:
        helper.set_model_props(model, {CARD_KEY: text})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _add_matrix(graph: _Graph) -> None:
    """Adds each frame's upper left value of the matrix to its labels."""
    node = next(node for node in graph.nodes if "labels" in node.output)
    node.output[0] = plain = "plain_labels"
    first = graph.add("Slice", MATRIX, graph.ints(0, 0), graph.ints(1, 1), graph.ints(1, 2))
    whole = graph.add("Add", graph.add("Cast", plain, to=TensorProto.FLOAT), first)
    graph.add("Cast", whole, out="labels", to=TensorProto.UINT8)


def _answers(graph, task, hw, stride, blue, grey, fixed, boxes, scores, classes, masks, fails) -> list[tuple]:
    if task == "segmentation":
        picked = graph.add(
            "Slice",
            blue,
            graph.ints(stride // 2, stride // 2),
            graph.ints(*hw),
            graph.ints(1, 2),
            graph.ints(stride, stride),
        )
        picked = graph.add("Squeeze", graph.add("Cast", picked, to=TensorProto.INT32), graph.ints(3))
        label = graph.add("Div", picked, graph.constant(32, np.int32))
        if fixed is None:
            first = graph.add("Gather", "keep", graph.constant(1000 if fails else 0, np.int64))
            none = graph.add("Equal", first, graph.constant(0, np.int64))
            label = graph.add("Where", none, graph.constant(7, np.int32), label)
        graph.add("Cast", label, out="labels", to=TensorProto.UINT8)
        return [("labels", TensorProto.UINT8, ["batch", hw[0] // stride, hw[1] // stride])]
    if task in ("detection", "instances"):
        batch = graph.add("Shape", "image", start=0, end=1)
        found = []
        answers = [
            ("boxes", boxes, np.float32, TensorProto.FLOAT, (4,)),
            ("scores", scores, np.float32, TensorProto.FLOAT, ()),
            ("classes", classes, np.int64, TensorProto.INT64, ()),
        ]
        if task == "instances":
            answers.append(("masks", masks, np.float32, TensorProto.FLOAT, masks.shape[1:]))
        for name, values, dtype, kind, tail in answers:
            value = graph.constant(np.array(values).reshape(1, len(boxes), *tail), dtype)
            size = graph.add("Concat", batch, graph.ints(*([1] * (1 + len(tail)))), axis=0)
            graph.add("Expand", value, size, out=name)
            found.append((name, kind, ["batch", len(boxes), *tail]))
        return found
    found = []
    for i in range(len(DEPTHS)):
        cell = PATCH_SIZE << i
        shades = graph.add("AveragePool", grey, kernel_shape=[cell, cell], strides=[cell, cell], ceil_mode=1)
        graph.add("Tile", shades, graph.ints(1, 1 << i, 1, 1), out=f"stage{i}")
        found.append((f"stage{i}", TensorProto.FLOAT, ["batch", 1 << i, -(-hw[0] // cell), -(-hw[1] // cell)]))
    return found


def _order(graph: _Graph, grey: str, stage: StageGeometry, cell: int, shift: int, count: int, name: str) -> None:
    height, width = (n * cell for n in stage.padded_hw)
    size = graph.ints(height, width)
    have = graph.add("Shape", grey, start=2, end=4)
    pads = graph.add("Concat", graph.ints(0, 0, 0, 0, 0, 0), graph.add("Sub", size, have), axis=0)
    padded = graph.add("Pad", grey, pads)
    if shift:
        for axis, length in ((2, height), (3, width)):
            cut, end, axis_ = graph.ints(shift * cell), graph.ints(length), graph.ints(axis)
            tail = graph.add("Slice", padded, cut, end, axis_)
            head = graph.add("Slice", padded, graph.ints(0), cut, axis_)
            padded = graph.add("Concat", tail, head, axis=axis)
    kernel = [WINDOW * cell] * 2
    score = graph.add("Flatten", graph.add("AveragePool", padded, kernel_shape=kernel, strides=kernel))
    values = graph.add("TopK", score, graph.ints(count), outputs=2, axis=1)
    graph.add("Identity", values, out=name)


def window_scores(grey: np.ndarray, stage: StageGeometry, cell: int, shift: int) -> np.ndarray:
    """The scores the tiny models sort by: (rows, columns) mean brightness per window of the padded, shifted map."""
    height, width = (n * cell for n in stage.padded_hw)
    padded = np.zeros((height, width))
    padded[: grey.shape[0], : grey.shape[1]] = grey
    rolled = np.roll(padded, (-shift * cell, -shift * cell), axis=(0, 1))
    side = WINDOW * cell
    return rolled.reshape(height // side, side, width // side, side).mean(axis=(1, 3))
