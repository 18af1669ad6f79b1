from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sparsevit_runtime.graph.real_first import with_real_first
from sparsevit_runtime.model import bundled_models


def model(*more: onnx.NodeProto, kind: str = "Cast", **attributes) -> bytes:
    nodes = [
        helper.make_node("Transpose", ["image"], ["turned"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node(kind, ["turned"], ["y"], "real", **attributes),
        *more,
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 2, 4, 3])
    outputs = [helper.make_empty_tensor_value_info(node.output[0]) for node in nodes[1:]]
    graph = helper.make_graph(nodes, "g", [image], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


@pytest.mark.parametrize("to", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_bytes_are_cast_before_they_are_turned(to):
    before = model(to=to)
    after = onnx.load_from_string(with_real_first(before, "image"))
    assert [(n.op_type, n.name, *n.input, *n.output) for n in after.graph.node] == [
        ("Cast", "real", "image", "turned"),
        ("Transpose", "turn", "turned", "y"),
    ]
    image = np.arange(48, dtype=np.uint8).reshape(2, 2, 4, 3)
    runs = [onnxruntime.InferenceSession(m).run(None, {"image": image})[0] for m in (before, after.SerializeToString())]
    np.testing.assert_array_equal(*runs)


def test_everything_else_stays():
    two = model(helper.make_node("Cast", ["turned"], ["z"], to=TensorProto.FLOAT16), to=TensorProto.FLOAT)
    for data in (two, model(kind="Identity")):
        assert with_real_first(data, "image") == data
    assert with_real_first(model(to=TensorProto.FLOAT), "keep") == model(to=TensorProto.FLOAT)


@pytest.mark.parametrize("name", bundled_models())
def test_no_bundled_model_turns_bytes_then(name):
    graph = onnx.load_from_string(with_real_first(bundled_models()[name].read_bytes(), "image")).graph
    assert {node.op_type for node in graph.node if "image" in node.input} <= {"PatchEmbed", "Cast"}
