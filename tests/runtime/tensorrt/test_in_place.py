"""Scatters in place: nothing may read the old map once it is overwritten, in whatever order TensorRT runs the nodes."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from exports import EXPORTED_BEFORE
from sparsevit_runtime.graph.nodes import Node, read_nodes
from sparsevit_runtime.model import find_model
from sparsevit_runtime.tensorrt.in_place import graph_outputs, safe_scatters, scatter_in_place


def node(kind: str, inputs: str, output: str) -> Node:
    return Node(kind, tuple(inputs.split()), (output,), output, "sparsevit" if kind.startswith("Window") else "")


MAKE = node("MatMul", "image w", "x")
SCORE = node("WindowScore", "x", "order")
GATHER = node("WindowGather", "x order", "windows")
BLOCK = node("Add", "windows b", "tokens")
SCATTER = node("WindowScatter", "x tokens order", "y")
SECOND = (node("WindowGather", "y order", "windows2"), node("WindowScatter", "y windows2 order", "z"))
RANK = node("WindowRank", "x", "order")
SUMMED = (
    Node("WindowGatherNorm", ("x", "order", "s", "b"), ("tokens", "normed"), "gather", "sparsevit"),
    node("MatMul", "normed w", "update"),
    node("WindowScatterAdd", "x tokens update b order", "y"),
)


@pytest.mark.parametrize(
    ("nodes", "outputs", "safe"),
    [
        ([MAKE, GATHER, BLOCK, SCATTER], ["y"], ["y"]),
        ([MAKE, SCORE, GATHER, BLOCK, SCATTER], ["y"], ["y"]),
        ([MAKE, SCORE, GATHER, BLOCK, SCATTER, *SECOND], ["z"], ["y", "z"]),
        ([MAKE, SCORE, GATHER, BLOCK, SCATTER, node("WindowScore", "x", "shifted")], ["y", "shifted"], []),
        ([MAKE, node("WindowScore", "x", "shifted"), SCORE, GATHER, BLOCK, SCATTER], ["y", "shifted"], []),
        ([MAKE, GATHER, BLOCK, SCATTER, node("Add", "x y", "sum")], ["sum"], []),
        ([MAKE, SCORE, GATHER, BLOCK, SCATTER, *SECOND, node("Add", "y z", "sum")], ["sum"], ["y"]),
        ([MAKE, GATHER, BLOCK, SCATTER, node("WindowScatter", "x tokens order", "other")], ["y", "other"], []),
        ([MAKE, GATHER, BLOCK, SCATTER], ["x", "y"], []),
        ([GATHER, BLOCK, SCATTER], ["y"], []),
        ([node("MatMul", "image w", "t"), node("Reshape", "t s", "x"), GATHER, BLOCK, SCATTER], ["y"], ["y"]),
        (
            [
                *(node("MatMul", "image w", "t"), node("Reshape", "t s", "x"), GATHER, BLOCK, SCATTER),
                node("Add", "t y", "sum"),
            ],
            ["sum"],
            [],
        ),
        (
            [MAKE, node("Reshape", "x s", "flat"), GATHER, BLOCK, SCATTER, node("Add", "flat y", "sum")],
            ["sum"],
            [],
        ),
        ([node("MatMul", "image w", "t"), node("Identity", "t", "x"), GATHER, BLOCK, SCATTER], ["y", "t"], []),
        ([MAKE, GATHER, BLOCK, SCATTER, node("If", "c", "maybe")], ["y"], []),
        ([MAKE, GATHER, BLOCK, SCATTER._replace(domain="elsewhere")], ["y"], []),
        ([MAKE, RANK, *SUMMED], ["order", "y"], ["y"]),
        ([MAKE, RANK, *SUMMED, node("WindowRank", "x", "shifted")], ["y", "shifted"], []),
    ],
    ids=[
        *("its own gather", "scored before", "a chain", "scored afterwards", "scored in no order", "a residual"),
        *("the first of a chain", "two scatters of a map", "an answer", "an input", "a view", "read before its view"),
        *("a view that is read later", "a view of an answer", "a nested graph", "another's node"),
        *("a sum", "a sum and ranks in no order"),
    ],
)
def test_what_else_reads_the_map(nodes, outputs, safe):
    assert [nodes[i].outputs[0] for i in safe_scatters(nodes, outputs)] == safe


def run_without(nodes: list[Node], withheld: int) -> set[int]:
    """Nodes that can run while one of them has not run: the latest that TensorRT may run it."""
    made = {name for node in nodes for name in node.outputs}
    there = {name for node in nodes for name in node.inputs} - made
    done: set[int] = set()
    for i, node in enumerate(nodes):  # in an order they can run in
        if i != withheld and there.issuperset(node.inputs):
            there.update(node.outputs)
            done.add(i)
    return done


@pytest.mark.parametrize(
    ("path", "kind", "counts"),
    [(find_model("street-scenes"), "WindowScatterAdd", (12, 8)), (EXPORTED_BEFORE, "WindowScatter", (5, 4))],
    ids=["bundled", "exported before"],
)
def test_in_no_order_is_an_old_map_read_and_no_scatter_is_left_out_for_nothing(path, kind, counts):
    """Run with each reader of a scatter's map held back."""
    data = path.read_bytes()
    nodes = read_nodes(data)
    scatters = [i for i, node in enumerate(nodes) if node.kind == kind]
    harmed = {
        scatter
        for scatter in scatters
        for reader, node in enumerate(nodes)
        if reader != scatter and nodes[scatter].inputs[0] in node.inputs and scatter in run_without(nodes, reader)
    }
    chosen = safe_scatters(nodes, graph_outputs(data))
    assert set(chosen) == set(scatters) - harmed
    assert (len(scatters), len(chosen)) == counts


def test_only_the_attribute_is_new():
    data = EXPORTED_BEFORE.read_bytes()
    written, count = scatter_in_place(data)
    model, other = onnx.load_from_string(data), onnx.load_from_string(written)
    asked = [node for node in other.graph.node if node.attribute and node.attribute[-1].name == "in_place"]
    assert len(asked) == count == 4
    for node in asked:
        assert (node.op_type, node.attribute.pop()) == ("WindowScatter", helper.make_attribute("in_place", 1))
    assert other == model


def test_a_graph_without_scatters_stays_as_it_is():
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", [], [])
    graph.output.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1]))
    data = helper.make_model(graph).SerializeToString()
    assert graph_outputs(data) == ["y"]
    written, count = scatter_in_place(data)
    assert (onnx.load_from_string(written), count) == (onnx.load_from_string(data), 0)
