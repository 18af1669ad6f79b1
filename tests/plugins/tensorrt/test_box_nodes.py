"""TensorRT-RTX on the CPU builds engines with NmsKeep and MultiLevelRoiAlign, as a detector's heads use them."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from sparsevit_exporter.nodes import DOMAIN, OPSET, VERSION

pytestmark = pytest.mark.slow  # nvcc compiles the library first

TYPES = {TensorProto.FLOAT: "FLOAT", TensorProto.FLOAT16: "HALF", TensorProto.BFLOAT16: "BF16"}
SIZES = ((20, 31), (10, 16), (5, 8), (3, 4))
BOXES, CLASSES, KEPT, CHANNELS = 40, 3, 10, 8


def detector(path, dtype=TensorProto.FLOAT, corners=4, **changes):
    """Suppression within each class, the best of all classes, and what the maps hold under their boxes.

    Each class of each sample is a group: the batch is folded in and out again. None drops an attribute.
    """
    nms = {"iou": 0.5, "score_threshold": 0.05, "limit": KEPT}
    roi = {"output_size": 7, "finest_scale": 56, "strides": [4, 8, 16, 32]}
    for attributes in (nms, roi):
        for name in [*attributes]:
            value = changes.get(name, attributes[name])
            attributes.pop(name) if value is None else attributes.update({name: value})
    nodes = [
        helper.make_node("Reshape", ["boxes", "to_groups4"], ["grouped_boxes"]),
        helper.make_node("Reshape", ["scores", "to_groups"], ["grouped_scores"]),
        helper.make_node("NmsKeep", ["grouped_boxes", "grouped_scores"], ["keep"], name="nms", domain=DOMAIN, **nms),
        helper.make_node("Cast", ["keep"], ["kept"], to=TensorProto.BOOL),
        helper.make_node("Where", ["kept", "grouped_scores", "nothing"], ["left"]),
        helper.make_node("Reshape", ["left", "to_samples"], ["flat_scores"]),
        helper.make_node("TopK", ["flat_scores", "count"], ["best", "order"]),
        helper.make_node("Reshape", ["boxes", "to_samples4"], ["flat_boxes"]),
        helper.make_node("Unsqueeze", ["order", "last"], ["where"]),
        helper.make_node("GatherND", ["flat_boxes", "where"], ["best_boxes"], batch_dims=1),
        helper.make_node(
            "MultiLevelRoiAlign", ["p2", "p3", "p4", "p5", "best_boxes"], ["bins"], name="roi", domain=DOMAIN, **roi
        ),
    ]
    inputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", CLASSES, BOXES, corners]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES, BOXES]),
        *(helper.make_tensor_value_info(f"p{i + 2}", dtype, ["batch", CHANNELS, *SIZES[i]]) for i in range(len(SIZES))),
    ]
    outputs = [
        helper.make_tensor_value_info("best", TensorProto.FLOAT, ["batch", KEPT]),
        helper.make_tensor_value_info("bins", dtype, ["batch", KEPT, CHANNELS, 7, 7]),
    ]
    integers = {
        "to_groups": [-1, BOXES],
        "to_groups4": [-1, BOXES, corners],
        "to_samples": [-1, CLASSES * BOXES],
        "to_samples4": [-1, CLASSES * BOXES, corners],
        "count": [KEPT],
        "last": [-1],
    }
    constants = [helper.make_tensor(n, TensorProto.INT64, [len(v)], v) for n, v in integers.items()]
    constants.append(helper.make_tensor("nothing", TensorProto.FLOAT, [], [-1.0]))
    graph = helper.make_graph(nodes, "boxes", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def profile():
    shapes = {"boxes": (CLASSES, BOXES, 4), "scores": (CLASSES, BOXES)}
    shapes |= {f"p{i + 2}": (CHANNELS, *size) for i, size in enumerate(SIZES)}
    return {name: [[batch, *shape] for batch in (1, 1, 4)] for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("dtype", "changes"),
    [
        (TensorProto.FLOAT, {}),
        (TensorProto.FLOAT16, {"finest_scale": None}),  # which has a default
        (TensorProto.BFLOAT16, {}),
    ],
    ids=TYPES.values(),
)
def test_engines(build_engine, plugin_library, tmp_path, dtype, changes):
    report = build_engine(detector(tmp_path / "m.onnx", dtype, **changes), profile(), plugin_library)
    assert report["loaded"] and report["parsed"], report["log"]
    assert report["types"] == {"nms": "INT32", "roi": TYPES[dtype]}
    assert report["engine_bytes"], report["log"]


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"iou": 2.0}, "NmsKeep: node 'nms': iou is 2.000000, it must be from 0 to 1"),
        ({"corners": 5}, "NmsKeep: boxes have the shape (-1, 40, 5) and scores (-1, 40), expected (groups, boxes, 4)"),
        ({"strides": [4, 8]}, "MultiLevelRoiAlign: node 'roi': attribute 'strides' is not 4 integers"),
    ],
)
def test_wrong_nodes(build_engine, plugin_library, tmp_path, changes, message):
    report = build_engine(detector(tmp_path / "m.onnx", **changes), profile(), plugin_library)
    assert not report["parsed"]
    assert any(message in line for line in report["log"]), report["log"]
