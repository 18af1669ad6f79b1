"""The nodes that a block is made of, as custom ops in the real ONNX Runtime, against their portable bodies."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from single_nodes import TYPES, nodes_run, open_model, whole_model
from sparsevit_exporter.nodes import DOMAIN

ERRORS = onnxruntime.capi.onnxruntime_pybind11_state
#: (batch, height, width, window_size, shift, listed): whole maps, padded and shifted ones, nothing listed, all.
MAPS = [(1, 14, 7, 7, 0, 1), (2, 9, 10, 7, 3, 3), (3, 9, 8, 4, 2, 6), (2, 5, 30, 8, 4, 0)]
CHANNELS, HEADS = 32, 2
#: Largest difference from the body in float, over the tensor's scale.
LIMITS = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}
TENSORS = {
    "WindowRank": (["x"], ["order"]),
    "WindowGatherNorm": (["x", "index", "scale", "bias"], ["tokens", "normed"]),
    "WindowAttention": (["qkv", "qkv_bias", "index", "kind", "position_bias"], ["attended"]),
    "WindowScatterAdd": (["x", "tokens", "update", "bias", "index"], ["y"]),
}


def attributes(node: str, sizes: tuple[int, ...]) -> dict[str, object]:
    _, height, width, window_size, shift, _ = sizes
    if node == "WindowAttention":
        return {"heads": HEADS, "window_size": window_size}
    extra = {"epsilon": 1e-3} if node == "WindowGatherNorm" else {}
    return {"height": height, "width": width, "window_size": window_size, "shift": shift, **extra}


def inputs(node: str, sizes: tuple[int, ...], seed: int, index: type = np.int64) -> dict[str, np.ndarray]:
    """Numbers that every element holds exactly."""
    batch, height, width, window_size, _, listed = sizes
    rng = np.random.default_rng(seed)
    windows, tokens = -(-height // window_size) * -(-width // window_size), window_size**2

    def numbers(*shape: int) -> np.ndarray:
        return np.float32(np.round(rng.normal(size=shape) * 16) / 16)

    drawn = {
        "x": numbers(batch, height, width, CHANNELS),
        "index": np.array([rng.permutation(windows)[:listed] for _ in range(batch)], index).reshape(batch, listed),
        "scale": numbers(CHANNELS),
        "bias": numbers(CHANNELS),
        "tokens": numbers(batch, listed * tokens, CHANNELS),
        "update": numbers(batch, listed * tokens, CHANNELS),
        "qkv": numbers(batch, listed * tokens, 3 * CHANNELS),
        "qkv_bias": numbers(3 * CHANNELS),
        "kind": np.arange(windows, dtype=np.int32) % 3,
        "position_bias": numbers(3, HEADS, tokens, tokens),
    }
    return {name: drawn[name] for name in TENSORS[node][0]}


def model(node: str, sizes: tuple[int, ...], element: str, index: type = np.int64) -> bytes:
    """The node between casts from and to float."""
    names, outputs = TENSORS[node]
    given, nodes, inner = [], [], []
    for name in names:
        whole = {"index": np.dtype(index).name, "kind": "int32"}.get(name)
        given.append(helper.make_tensor_value_info(name, TYPES[whole or "float32"], None))
        inner.append(name if whole else f"{name}/element")
        if not whole:
            nodes.append(helper.make_node("Cast", [name], [inner[-1]], to=TYPES[element]))
    nodes.append(helper.make_node(node, inner, [f"{o}/own" for o in outputs], domain=DOMAIN, **attributes(node, sizes)))
    to = TensorProto.INT32 if node == "WindowRank" else TensorProto.FLOAT
    nodes += [helper.make_node("Cast", [f"{o}/own"], [o], to=to) for o in outputs]
    answers = [helper.make_tensor_value_info(name, to, None) for name in outputs]
    return whole_model(helper.make_graph(nodes, "node", given, answers))


@pytest.mark.parametrize("node", TENSORS)
@pytest.mark.parametrize("element", LIMITS)
def test_nodes_are_their_bodies(library, node, element):
    """Of the body in float; rounded inputs, and sums in float within, make half and bfloat16 the same but for that."""
    for seed, sizes in enumerate(MAPS):
        index = (np.int64, np.int32)[seed % 2]
        feeds = inputs(node, sizes, seed, index)
        wanted = open_model(model(node, sizes, "float32", index)).run(None, feeds)
        found = open_model(model(node, sizes, element, index), library).run(None, feeds)
        for name, a, b in zip(TENSORS[node][1], found, wanted, strict=True):
            assert a.shape == b.shape
            if name in ("order", "tokens"):
                np.testing.assert_array_equal(a, b)
            else:
                scale = max(1.0, np.abs(b).max(initial=0))
                assert np.abs(a - b).max(initial=0) <= LIMITS[element] * scale, (name, sizes)


def block(sizes: tuple[int, ...], weights: dict[str, np.ndarray]) -> bytes:
    """A block of a network, as an export has it, of dynamic batch and count; then the ranks of its map."""
    _, height, width, _, _, _ = sizes
    window, gather, attention = (attributes(n, sizes) for n in ("WindowRank", "WindowGatherNorm", "WindowAttention"))
    norm = {"axis": -1, "epsilon": 1e-3}
    nodes = [
        helper.make_node("Abs", ["x"], ["map"]),
        helper.make_node("WindowGatherNorm", ["map", "index", "g1", "b1"], ["t", "n"], domain=DOMAIN, **gather),
        helper.make_node("MatMul", ["n", "wqkv"], ["qkv"]),
        helper.make_node(
            "WindowAttention", ["qkv", "bqkv", "index", "kind", "table"], ["a"], domain=DOMAIN, **attention
        ),
        helper.make_node("MatMul", ["a", "wproj"], ["projected"]),
        helper.make_node("Add", ["projected", "bproj"], ["with_bias"]),
        helper.make_node("Add", ["t", "with_bias"], ["r"]),
        helper.make_node("LayerNormalization", ["r", "g2", "b2"], ["n2"], **norm),
        helper.make_node("MatMul", ["n2", "w1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "w2"], ["m"]),
        helper.make_node("WindowScatterAdd", ["map", "r", "m", "bias2", "index"], ["y"], domain=DOMAIN, **window),
        helper.make_node("WindowRank", ["y"], ["order"], domain=DOMAIN, **window),
    ]
    given = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", height, width, CHANNELS]),
        helper.make_tensor_value_info("index", TensorProto.INT32, ["B", "k"]),
    ]
    answers = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    answers.append(helper.make_tensor_value_info("order", TensorProto.INT32, None))
    kept = [
        helper.make_tensor(name, TensorProto.INT32 if name == "kind" else TensorProto.FLOAT, w.shape, w.ravel())
        for name, w in weights.items()
    ]
    return whole_model(helper.make_graph(nodes, "block", given, answers, kept))


def test_a_block_of_every_batch_and_count(library, tmp_path):
    sizes = (1, 9, 10, 7, 3, 2)
    rng = np.random.default_rng(5)
    shapes = {"g1": 1, "b1": 1, "g2": 1, "b2": 1, "bproj": 1, "bias2": 1, "bqkv": 3}
    weights = {name: np.float32(rng.normal(size=CHANNELS * n)) for name, n in shapes.items()}
    for name, of in {"wqkv": (1, 3), "wproj": (1, 1), "w1": (1, 4), "w2": (4, 1)}.items():
        weights[name] = np.float32(rng.normal(size=[CHANNELS * n for n in of]) * 0.2)
    weights["kind"] = np.arange(4, dtype=np.int32) % 3
    weights["table"] = np.float32(rng.normal(size=(3, HEADS, 49, 49)))
    whole = block(sizes, weights)
    bodies, ops = open_model(whole), open_model(whole, library)
    for batch, listed in ((1, 4), (3, 2), (2, 0), (1, 1)):
        x = np.float32(rng.normal(size=(batch, 9, 10, CHANNELS)))
        index = np.array([rng.permutation(4)[:listed] for _ in range(batch)], np.int32).reshape(batch, listed)
        feeds = {"x": x, "index": index}
        (y, order), (wanted, wanted_order) = ops.run(None, feeds), bodies.run(None, feeds)
        np.testing.assert_allclose(y, wanted, atol=1e-4 * np.abs(wanted).max())
        np.testing.assert_array_equal(order, wanted_order)
    assert {o.name: o.shape for o in ops.get_outputs()} == {"y": ["B", 9, 10, CHANNELS], "order": ["B", 4]}
    _, kinds = nodes_run(whole, feeds, library, tmp_path)
    assert all(kinds[node] == 1 for node in TENSORS)


def refusing(node: str, **changed: object) -> bytes:
    """The node with float inputs of open shapes, and other attributes."""
    names, outputs = TENSORS[node]
    types = {"index": TensorProto.INT64, "kind": TensorProto.INT32}
    given = [helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), None) for n in names]
    of = {**attributes(node, (2, 9, 10, 7, 3, 3)), **changed}
    own = helper.make_node(node, names, outputs, domain=DOMAIN, **of)
    to = TensorProto.INT32 if node == "WindowRank" else TensorProto.FLOAT
    answers = [helper.make_tensor_value_info(name, to, None) for name in outputs]
    return whole_model(helper.make_graph([own], "node", given, answers))


@pytest.mark.parametrize(
    ("node", "changed", "message"),
    [
        ("WindowRank", {"shift": 1}, "shift is 1, it must be 0 or window_size / 2 = 3"),
        ("WindowGatherNorm", {"epsilon": -1.0}, "epsilon is -1, it must not be negative"),
        ("WindowGatherNorm", {"epsilon": 1}, "attribute 'epsilon' is missing, or not one float"),
        ("WindowAttention", {"heads": 0}, "heads is 0, window_size 7; they must be at least 1"),
        ("WindowScatterAdd", {"height": -1}, "height is -1"),
    ],
)
def test_attributes_that_mean_nothing(library, node, changed, message):
    with pytest.raises(ERRORS.RuntimeException) as caught:
        open_model(refusing(node, **changed), library)
    assert f"{node} node" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    ("node", "name", "shape", "message"),
    [
        ("WindowRank", "x", (2, 9, 11, 32), "x has the shape (2, 9, 11, 32)"),
        ("WindowGatherNorm", "scale", (31,), "scale has the shape (31) for x (2, 9, 10, 32), expected (channels)"),
        ("WindowGatherNorm", "bias", (1, 32), "bias has the shape (1, 32)"),
        ("WindowGatherNorm", "index", (2, 5), "index has the shape (2, 5)"),
        ("WindowAttention", "qkv", (2, 147, 97), "the channels a multiple of 2 heads"),
        ("WindowAttention", "qkv", (2, 146, 96), "qkv has the shape (2, 146, 96) for index (2, 3), expected (batch,"),
        ("WindowAttention", "qkv_bias", (32,), "qkv_bias has the shape (32)"),
        ("WindowAttention", "kind", (2,), "kind (2) for qkv"),
        ("WindowAttention", "position_bias", (3, 1, 49, 49), "position_bias has the shape (3, 1, 49, 49), expected"),
        ("WindowScatterAdd", "update", (2, 98, 32), "update has the shape (2, 98, 32)"),
        ("WindowScatterAdd", "tokens", (2, 147, 31), "expected (2, 147, 32)"),
    ],
)
def test_shapes_that_do_not_fit(library, node, name, shape, message):
    feeds = inputs(node, (2, 9, 10, 7, 3, 3), 0)
    feeds[name] = np.zeros(shape, feeds[name].dtype)
    with pytest.raises(ERRORS.InvalidArgument) as caught:
        open_model(refusing(node), library).run(None, feeds)
    assert f"{node}: " in str(caught.value) and message in str(caught.value)
