"""TensorRT-RTX on the CPU: it creates the plugins, runs their shape functions, builds engines of single nodes.

Whole models are built by the product's own builder, in tests/runtime/tensorrt.
"""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from sparsevit_exporter.nodes import DOMAIN, OPSET, VERSION, functions

pytestmark = pytest.mark.slow  # nvcc compiles the library first

TYPES = {TensorProto.FLOAT: "FLOAT", TensorProto.FLOAT16: "HALF", TensorProto.BFLOAT16: "BF16"}


def node_model(path, dtype=TensorProto.FLOAT, index=TensorProto.INT64, rows=14, with_bodies=False, **changes):
    """Score, sort, gather the first `keep`, negate, scatter on a (batch, 14, 21, 32) map; None drops an attribute."""
    attributes = {"domain": DOMAIN, "height": 14, "width": 21, "window_size": 7, "shift": 3}
    in_place = {"in_place": changes.pop("in_place")} if "in_place" in changes else {}
    attributes = {k: v for k, v in {**attributes, **changes}.items() if v is not None}
    nodes = [
        helper.make_node("WindowScore", ["x"], ["scores"], name="score", **attributes),
        helper.make_node("Shape", ["scores"], ["all"], start=1),
        helper.make_node("TopK", ["scores", "all"], ["sorted", "order"]),
        helper.make_node("Slice", ["order", "zero", "keep", "one"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["index"], to=index),
        helper.make_node("WindowGather", ["x", "index"], ["windows"], name="gather", **attributes),
        helper.make_node("Neg", ["windows"], ["negated"]),
        helper.make_node("WindowScatter", ["x", "negated", "index"], ["y"], name="scatter", **attributes, **in_place),
    ]
    x, y = (helper.make_tensor_value_info(name, dtype, ["batch", rows, 21, 32]) for name in "xy")
    keep = helper.make_tensor_value_info("keep", TensorProto.INT64, [1])
    constants = [helper.make_tensor(name, TensorProto.INT64, [1], [v]) for name, v in (("zero", 0), ("one", 1))]
    graph = helper.make_graph(nodes, "nodes", [x, keep], [y], constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions() if with_bodies else [])
    onnx.save(model, path)
    return path


NODE_PROFILE = {"x": [[1, 14, 21, 32], [1, 14, 21, 32], [4, 14, 21, 32]], "keep": [[0], [3], [6]]}


@pytest.mark.parametrize("index", [TensorProto.INT64, TensorProto.INT32], ids=["int64", "int32"])
@pytest.mark.parametrize("dtype", list(TYPES), ids=TYPES.get)
def test_every_type(build_engine, plugin_library, tmp_path, dtype, index):
    report = build_engine(node_model(tmp_path / "m.onnx", dtype, index), NODE_PROFILE, plugin_library)
    assert report["loaded"] and report["parsed"], report["log"]
    assert report["types"] == {"score": "FLOAT", "gather": TYPES[dtype], "scatter": TYPES[dtype]}
    assert report["engine_bytes"], report["log"]


def test_in_place_scatter_needs_the_preview_feature(build_engine, plugin_library, tmp_path):
    model = node_model(tmp_path / "m.onnx", in_place=1)
    assert build_engine(model, NODE_PROFILE, plugin_library, aliased=True)["engine_bytes"]
    refused = build_engine(model, NODE_PROFILE, plugin_library)
    assert refused["engine_bytes"] is None and any("kALIASED_PLUGIN_IO_10_03" in line for line in refused["log"])


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"shift": 2}, "WindowScore: node 'score': shift is 2, it must be 0 or window_size / 2 = 3"),
        ({"window_size": 0}, "WindowScore: node 'score': window_size is 0, it must be at least 1"),
        ({"height": None}, "WindowScore: node 'score': attribute 'height' is missing"),
        ({"in_place": 2}, "WindowScatter: node 'scatter': in_place is 2, it must be 0 or 1"),
        ({"rows": 15}, "WindowScore: x has the shape (-1, 15, 21, 32), the node was exported for (batch, 14, 21,"),
    ],
)
def test_wrong_attributes(build_engine, plugin_library, tmp_path, changes, message):
    report = build_engine(node_model(tmp_path / "m.onnx", **changes), NODE_PROFILE, plugin_library)
    assert not report["parsed"]
    assert any(message in line for line in report["log"]), report["log"]


def test_without_the_library_the_nodes_are_unknown(build_engine, tmp_path):
    report = build_engine(node_model(tmp_path / "m.onnx"), NODE_PROFILE)
    assert not report["parsed"] and any("Plugin not found" in line for line in report["log"])


def test_with_bodies_no_plugin_is_needed(build_engine, plugin_library, tmp_path):
    model = node_model(tmp_path / "m.onnx", with_bodies=True)
    for library in (None, plugin_library):
        report = build_engine(model, NODE_PROFILE, library)
        assert report["parsed"] and report["plugins"] == [] and report["engine_bytes"], report["log"]
