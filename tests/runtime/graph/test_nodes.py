import onnx
import pytest
from onnx import TensorProto, helper

from sparsevit_runtime.graph.nodes import Node, read_nodes, renamed, rewrite_nodes


@pytest.fixture
def model() -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    nodes = [
        helper.make_node("Neg", ["x"], ["y"], "first"),
        helper.make_node("WindowScore", ["y"], ["z"], domain="sparsevit", window_size=7),
    ]
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])
    return helper.make_model(helper.make_graph(nodes, "g", [value], [result]))


def test_nodes_are_read_in_their_order(model):
    assert read_nodes(model.SerializeToString()) == [
        Node("Neg", ("x",), ("y",), "first"),
        Node("WindowScore", ("y",), ("z",), "", "sparsevit"),
    ]


def test_renaming_changes_names_alone(model):
    named = onnx.load_from_string(rewrite_nodes(model.SerializeToString(), lambda i, node: renamed(node, f"node{i}")))
    assert [node.name for node in named.graph.node] == ["node0", "node1"]
    for node in (*model.graph.node, *named.graph.node):
        node.name = ""
    assert named == model


@pytest.mark.parametrize("data", [b"\x0f", b"\x3a\x7f\x00"])
def test_what_is_no_model(data):
    for read in (read_nodes, lambda data: rewrite_nodes(data, lambda _, node: node)):
        with pytest.raises(ValueError, match="byte"):
            read(data)
