"""The nodes of norms as custom ops in the real ONNX Runtime, against their portable bodies."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from single_nodes import TYPES, nodes_run, open_model, whole_model
from sparsevit_exporter.nodes import DOMAIN

ERRORS = onnxruntime.capi.onnxruntime_pybind11_state
CHANNELS = 24
#: Largest difference from the body in float, over the tensor's scale.
LIMITS = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}
TENSORS = {
    "AddNorm": (["x", "update", "bias", "scale", "shift"], ["sum", "normed"]),
    "PatchMergeNorm": (["x", "scale", "shift"], ["normed"]),
    "FeatureMapNorm": (["x", "scale", "shift"], ["y"]),
    "FeatureMapNorm32": (["x", "scale", "shift"], ["y"]),
}
#: Shapes of x without its channels.
SHAPES = dict.fromkeys(TENSORS, ((2, 3, 5), (1, 7, 4), (0, 2, 2)))
SHAPES |= {"AddNorm": ((2, 7), (1, 3, 5), (0, 4), (6,)), "PatchMergeNorm": ((2, 3, 5), (1, 6, 4), (3, 1, 2))}
ROWS = {"x", "update"}


def inputs(node: str, shape: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
    """Numbers that every element holds exactly, the sums among them."""
    rng = np.random.default_rng(seed)
    row = CHANNELS * (4 if node == "PatchMergeNorm" else 1)
    sizes = {name: (*shape, CHANNELS) if name in ROWS else (row,) for name in TENSORS[node][0]}
    return {name: np.float32(np.round(rng.normal(size=size) * 8) / 8) for name, size in sizes.items()}


def model(node: str, element: str, shape: tuple[int, ...], **changed: object) -> bytes:
    """The node between casts from and to float, its inputs of open shapes; `shape`: of x without its channels."""
    names, outputs = TENSORS[node]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    nodes = [helper.make_node("Cast", [name], [f"{name}/own"], to=TYPES[element]) for name in names]
    attributes = dict(zip(("height", "width"), shape[1:])) if node == "PatchMergeNorm" else {}
    attributes |= {"epsilon": 1e-3}
    own = [[f"{name}/own" for name in part] for part in (names, outputs)]
    nodes.append(helper.make_node(node, *own, name="the/node", domain=DOMAIN, **(attributes | changed)))
    nodes += [helper.make_node("Cast", [f"{name}/own"], [name], to=TensorProto.FLOAT) for name in outputs]
    answers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    return whole_model(helper.make_graph(nodes, "node", given, answers))


@pytest.mark.parametrize("node", TENSORS)
@pytest.mark.parametrize("element", LIMITS)
def test_nodes_are_their_bodies(library, node, element):
    for seed, shape in enumerate(SHAPES[node]):
        feeds = inputs(node, shape, seed)
        wanted = open_model(model(node, "float32", shape)).run(None, feeds)
        found = open_model(model(node, element, shape), library).run(None, feeds)
        for name, a, b in zip(TENSORS[node][1], found, wanted, strict=True):
            assert a.shape == b.shape
            scale = max(1.0, np.abs(b).max(initial=0))
            assert np.abs(a - b).max(initial=0) <= (LIMITS[element] * scale if name != "sum" else 0), (name, shape)


def test_the_sum_may_take_the_place_of_what_it_is_made_of(library, tmp_path):
    """Where nobody else reads that; where somebody does, it stays as it is."""
    names, outputs = TENSORS["AddNorm"]
    given = [helper.make_tensor_value_info(n, 1, ["B", "n", CHANNELS] if n in ROWS else [CHANNELS]) for n in names]
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("AddNorm", ["a", *names[1:]], ["s", "m"], domain=DOMAIN, epsilon=1e-3),
        helper.make_node("AddNorm", ["s", *names[1:]], outputs, domain=DOMAIN, epsilon=1e-3),
        helper.make_node("Add", ["m", "a"], ["before"]),
    ]
    answers = [helper.make_tensor_value_info(name, 1, None) for name in (*outputs, "before")]
    whole = whole_model(helper.make_graph(nodes, "twice", given, answers))
    feeds = inputs("AddNorm", (2, 7), 0)
    found, kinds = nodes_run(whole, feeds, library, tmp_path)
    assert kinds["AddNorm"] == 2 and not kinds["LayerNormalization"]
    for a, b in zip(found, open_model(whole).run(None, feeds), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    shapes = {output.name: output.shape for output in open_model(whole, library).get_outputs()}
    assert shapes == {name: ["B", "n", CHANNELS] for name in (*outputs, "before")}


def test_sizes_that_mean_nothing(library):
    with pytest.raises(
        ERRORS.RuntimeException, match="PatchMergeNorm node 'the/node': height is 0, width 5; they must"
    ):
        open_model(model("PatchMergeNorm", "float32", (2, 3, 5), height=0), library)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epsilon": -1.0}, "epsilon is -1, it must not be negative"),
        ({"epsilon": 1}, "attribute 'epsilon' is missing, or not one float"),
    ],
)
def test_attributes_that_mean_nothing(library, changed, message):
    for node in TENSORS:
        with pytest.raises(ERRORS.RuntimeException) as caught:
            open_model(model(node, "float32", SHAPES[node][0], **changed), library)
        assert f"{node} node 'the/node'" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    ("node", "name", "shape", "message"),
    [
        ("AddNorm", "update", (2, 6, CHANNELS), "x has the shape (2, 7, 24), update (2, 6, 24), expected (..., ch"),
        ("AddNorm", "x", (7, CHANNELS), "x has the shape (7, 24), update (2, 7, 24)"),
        ("AddNorm", "bias", (23,), "bias has the shape (23) for x (2, 7, 24), expected (channels)"),
        ("AddNorm", "scale", (1, 24), "scale has the shape (1, 24)"),
        ("AddNorm", "shift", (1,), "shift has the shape (1)"),
        (
            "PatchMergeNorm",
            "x",
            (2, 3, 6, CHANNELS),
            "x has the shape (2, 3, 6, 24), the node was exported for (batch, 3, 5",
        ),
        ("PatchMergeNorm", "scale", (24,), "scale has the shape (24) for x (2, 3, 5, 24), expected (4 * channels)"),
        ("FeatureMapNorm", "x", (7, CHANNELS), "x has the shape (7, 24), expected (batch, height, width, channels)"),
        ("FeatureMapNorm", "scale", (23,), "scale has the shape (23) for x (2, 3, 5, 24), expected (channels)"),
        ("FeatureMapNorm32", "shift", (24, 1), "shift has the shape (24, 1)"),
    ],
)
def test_shapes_that_do_not_fit(library, node, name, shape, message):
    feeds = {**inputs(node, SHAPES[node][0], 0), name: np.zeros(shape, np.float32)}
    with pytest.raises(ERRORS.InvalidArgument) as caught:
        open_model(model(node, "float32", SHAPES[node][0]), library).run(None, feeds)
    assert f"{node}: " in str(caught.value) and message in str(caught.value)
