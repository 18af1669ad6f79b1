"""Half precision made on the device: the same network, rounded, which agrees with its original or is not written."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sparsevit_exporter import load_checkpoint
from sparsevit_runtime.diagnostics import check, write_half
from sparsevit_runtime.errors import ModelError
from sparsevit_runtime.graph.half import in_half
from sparsevit_runtime.graph.onnx_file import read_onnx
from sparsevit_runtime.model import load

pytestmark = pytest.mark.slow  # half precision is slow on a CPU


@pytest.fixture(scope="module")
def half(exported, tmp_path_factory):
    path = tmp_path_factory.mktemp("half") / "half.onnx"
    assert write_half(exported(), path).agrees
    return path


def test_products_and_window_nodes_compute_in_half_precision(exported, half):
    full, model = onnx.load(exported()), onnx.load(half)
    onnx.checker.check_model(model)
    kinds = Counter(node.op_type for node in model.graph.node)
    del kinds["Cast"]
    assert kinds == Counter(node.op_type for node in full.graph.node)
    assert [*model.graph.input, *model.graph.output] == [*full.graph.input, *full.graph.output]
    weights = {weight.name: weight for weight in model.graph.initializer}
    for node in model.graph.node:
        kept = {"PatchEmbed": (1, 2, 3), "LayerNormalization": (1, 2)}.get(node.op_type, ())
        for i, name in enumerate(node.input):
            if name in weights and weights[name].data_type in (TensorProto.FLOAT, TensorProto.FLOAT16):
                exact = i in kept or node.op_type == "Resize"
                assert weights[name].data_type == (TensorProto.FLOAT if exact else TensorProto.FLOAT16), (node.name, i)
    for weight in full.graph.initializer:
        if f"{weight.name}/half" in weights:
            rounded = numpy_helper.to_array(weight).astype(np.float16)
            np.testing.assert_array_equal(numpy_helper.to_array(weights[f"{weight.name}/half"]), rounded)


def test_the_file_describes_itself_and_is_read_back(exported, half):
    before, file = read_onnx(exported()), read_onnx(half)
    assert file.card.precision == "fp16" and file.nodes == before.nodes
    assert file.card.model_copy(update={"precision": "fp32", "checks": before.card.checks}) == before.card
    with load(half, threads=1) as model:
        assert check(model).agrees
    assert load_checkpoint(half).task == before.card.task
    with pytest.raises(ModelError, match="in fp16 already"):
        write_half(half, half.with_name("again.onnx"))


def test_what_does_not_agree_is_not_written(exported, tmp_path, monkeypatch):
    def rounded(data: bytes) -> bytes:
        model = onnx.load_from_string(in_half(data))
        weight = next(w for w in model.graph.initializer if w.name == "head.classify.weight/half")
        values = numpy_helper.to_array(weight)
        weight.CopyFrom(numpy_helper.from_array(-values, weight.name))
        return model.SerializeToString()

    monkeypatch.setattr("sparsevit_runtime.graph.half.in_half", rounded)
    report = write_half(exported(), tmp_path / "half.onnx")
    assert not report.agrees and report.worst.tensor == "labels" and not list(tmp_path.iterdir())


def test_weights_too_large_for_it_and_graphs_without_products():
    def model(*nodes, weights=()):
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
        graph = helper.make_graph(list(nodes), "g", values[:1], values[1:], list(weights))
        return helper.make_model(graph).SerializeToString()

    large = numpy_helper.from_array(np.array([1e6, -1e-3], np.float32), "w")
    product = helper.make_node("MatMul", ["z", "w"], ["y"])
    found = onnx.load_from_string(in_half(model(helper.make_node("Softmax", ["x"], ["z"]), product, weights=[large])))
    assert [node.op_type for node in found.graph.node] == ["Softmax", "Cast", "MatMul", "Cast"]
    assert numpy_helper.to_array(found.graph.initializer[0]).tolist() == [65504, np.float16(-1e-3)]
    with pytest.raises(ValueError, match="no product"):
        in_half(model(helper.make_node("Relu", ["x"], ["y"])))
