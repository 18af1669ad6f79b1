"""TensorRT-RTX on the CPU builds engines of a transformer block: ranked windows, gathered, attended to, put back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sparsevit_exporter.nodes import DOMAIN, OPSET, VERSION

pytestmark = pytest.mark.slow  # nvcc compiles the library first

TYPES = {TensorProto.FLOAT: "FLOAT", TensorProto.FLOAT16: "HALF", TensorProto.BFLOAT16: "BF16"}
CHANNELS, HEADS, TOKENS, WINDOWS, KINDS = 32, 2, 49, 6, 3


def block(path, dtype=TensorProto.FLOAT, index=TensorProto.INT32, **changes):
    """A block of windows of 7 on a (batch, 14, 21, 32) map, without its activation; None drops an attribute."""
    window = {"height": 14, "width": 21, "window_size": 7, "shift": 3}
    norm, scatter = {**window, "epsilon": 1e-5}, dict(window)
    attention = {"heads": HEADS, "window_size": 7}
    scatter |= {"in_place": changes.pop("in_place")} if "in_place" in changes else {}
    for name, value in changes.items():
        for attributes in (norm, attention):
            if name in attributes and value is None:
                del attributes[name]
            elif name in attributes:
                attributes[name] = value
    ours = {"domain": DOMAIN}
    qkv = ["columns", "qkv_bias", "index", "kind", "position_bias"]
    nodes = [
        helper.make_node("WindowRank", ["x"], ["order"], name="rank", **window, **ours),
        helper.make_node("Slice", ["order", "zero", "keep", "one"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["index"], to=index),
        helper.make_node(
            "WindowGatherNorm", ["x", "index", "scale", "bias"], ["tokens", "normed"], name="gather", **norm, **ours
        ),
        helper.make_node("MatMul", ["normed", "qkv_weight"], ["columns"]),
        helper.make_node("WindowAttention", qkv, ["seen"], name="attention", **attention, **ours),
        helper.make_node("MatMul", ["seen", "proj_weight"], ["projected"]),
        helper.make_node("Add", ["tokens", "projected"], ["residual"]),
        helper.make_node("MatMul", ["residual", "mlp_weight"], ["update"]),
        helper.make_node(
            "WindowScatterAdd", ["x", "residual", "update", "bias", "index"], ["y"], name="scatter", **scatter, **ours
        ),
    ]
    x, y = (helper.make_tensor_value_info(name, dtype, ["batch", 14, 21, CHANNELS]) for name in "xy")
    keep = helper.make_tensor_value_info("keep", TensorProto.INT64, [1])
    shapes = {
        "scale": (CHANNELS,),
        "bias": (CHANNELS,),
        "qkv_weight": (CHANNELS, 3 * CHANNELS),
        "qkv_bias": (3 * CHANNELS,),
        "proj_weight": (CHANNELS, CHANNELS),
        "mlp_weight": (CHANNELS, CHANNELS),
        "position_bias": (KINDS, HEADS, TOKENS, TOKENS),
    }
    random = np.random.default_rng(0)
    constants = [
        helper.make_tensor(name, dtype, shape, random.standard_normal(shape).ravel()) for name, shape in shapes.items()
    ]
    constants += [numpy_helper.from_array(np.array([i], np.int64), name) for i, name in enumerate(("zero", "one"))]
    constants.append(numpy_helper.from_array(np.arange(WINDOWS, dtype=np.int32) % KINDS, "kind"))
    graph = helper.make_graph(nodes, "block", [x, keep], [y], constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


PROFILE = {"x": [[batch, 14, 21, CHANNELS] for batch in (1, 1, 4)], "keep": [[0], [3], [WINDOWS]]}


@pytest.mark.parametrize(
    ("dtype", "index"),
    [
        (TensorProto.FLOAT, TensorProto.INT64),
        (TensorProto.FLOAT16, TensorProto.INT32),
        (TensorProto.BFLOAT16, TensorProto.INT64),
    ],
    ids=TYPES.values(),
)
def test_engines(build_engine, plugin_library, tmp_path, dtype, index):
    report = build_engine(block(tmp_path / "m.onnx", dtype, index), PROFILE, plugin_library)
    assert report["loaded"] and report["parsed"], report["log"]
    types = dict.fromkeys(("gather", "attention", "scatter"), TYPES[dtype])
    assert report["types"] == {"rank": "INT32", **types}
    assert report["engine_bytes"], report["log"]


def test_in_place_needs_the_preview_feature(build_engine, plugin_library, tmp_path):
    model = block(tmp_path / "m.onnx", in_place=1)
    assert build_engine(model, PROFILE, plugin_library, aliased=True)["engine_bytes"]
    refused = build_engine(model, PROFILE, plugin_library)
    assert refused["engine_bytes"] is None and any("kALIASED_PLUGIN_IO_10_03" in line for line in refused["log"])


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"heads": 5}, "WindowAttention: qkv has the shape (-1, -1, 96), expected (batch, tokens, 3 * channels), ch"),
        ({"heads": None}, "WindowAttention: node 'attention': attribute 'heads' is missing"),
        ({"heads": 1}, "WindowAttention: position_bias has the shape (3, 2, 49, 49), expected (kinds, 1, 49, 49)"),
        ({"epsilon": -1.0}, "WindowGatherNorm: node 'gather': epsilon is -1.000000, it must be a number that is not"),
        ({"epsilon": None}, "WindowGatherNorm: node 'gather': attribute 'epsilon' is missing"),
        ({"in_place": 3}, "WindowScatterAdd: node 'scatter': in_place is 3, it must be 0 or 1"),
    ],
    ids=str,
)
def test_wrong_nodes(build_engine, plugin_library, tmp_path, changes, message):
    report = build_engine(block(tmp_path / "m.onnx", **changes), PROFILE, plugin_library)
    assert not report["parsed"]
    assert any(message in line for line in report["log"]), report["log"]
