"""The portable bodies in ONNX Runtime against the PyTorch operations, and these against what they are made of."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from sparsevit_exporter import nodes, windows
from sparsevit_runtime.windows.geometry import StageGeometry

TYPES = {TensorProto.FLOAT: torch.float32, TensorProto.FLOAT16: torch.float16}


def session(kind, inputs, outputs, **attributes):
    """One node with its body; inputs and outputs are names to type and shape."""
    node = helper.make_node(kind, list(inputs), list(outputs), domain=nodes.DOMAIN, **attributes)
    infos = [[helper.make_tensor_value_info(name, *of) for name, of in part.items()] for part in (inputs, outputs)]
    opsets = [helper.make_opsetid("", nodes.OPSET), helper.make_opsetid(nodes.DOMAIN, nodes.VERSION)]
    graph = helper.make_graph([node], "node", *infos)
    functions = nodes.functions_of(graph)
    assert [f.name for f in functions] == [kind]
    padded = kind in ("WindowGatherNorm", "WindowScatterAdd") and any(
        attributes[side] % attributes["window_size"] for side in ("height", "width")
    )
    assert ("If" in {n.op_type for n in functions[0].node}) == padded
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    nodes.register_schemas()
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(opened, *arrays):
    feeds = {each.name: array.numpy() for each, array in zip(opened.get_inputs(), arrays, strict=True)}
    return [torch.from_numpy(output) for output in opened.run(None, feeds)]


def window_attributes(height, width, window_size, shifted):
    return {
        "height": height,
        "width": width,
        "window_size": window_size,
        "shift": window_size // 2 if shifted else 0,
    }


def chosen(batch, k, count, dtype=torch.int32):
    return torch.stack([torch.randperm(count)[:k] for _ in range(batch)]).to(dtype)


MAPS = [(14, 7, 7), (10, 9, 7), (3, 5, 7), (9, 8, 4)]  # the first needs no padding
on_maps = pytest.mark.parametrize("height,width,window_size", MAPS)
shifted_or_not = pytest.mark.parametrize("shifted", [False, True], ids=["plain", "shifted"])
in_types = pytest.mark.parametrize("kind", TYPES, ids=["float", "half"])
B, MAP = "batch", ["batch", "height", "width", "channels"]


def rank(of, kind=TensorProto.FLOAT):
    return session("WindowRank", {"x": (kind, MAP)}, {"order": (TensorProto.INT32, [B, "all"])}, **of)


@on_maps
@shifted_or_not
def test_windows_are_ranked_by_descending_score_and_equals_by_their_number(height, width, window_size, shifted):
    of = window_attributes(height, width, window_size, shifted)
    opened = rank(of)
    for batch in (1, 3):
        x = torch.randn(batch, height, width, 4)
        (order,) = run(opened, x)
        assert order.dtype == torch.int32
        assert torch.equal(order, windows.window_rank(x, window_size, of["shift"]))
        scores = windows.window_score(x, window_size, of["shift"]).gather(1, order.long())
        assert (scores.diff(dim=1) <= 0).all()
    count = StageGeometry(height, width, window_size, 1).windows
    (order,) = run(opened, torch.zeros(2, height, width, 3))
    assert order.tolist() == [list(range(count))] * 2


def test_windows_without_a_score_are_ranked_last_and_never_lost():
    of = window_attributes(8, 12, 4, False)  # 2x3 windows
    x = torch.ones(1, 8, 12, 2)
    x[0, 1, 1, 0] = torch.nan
    x[0, 5, 5, 1] = torch.nan
    x[0, 7, 11, 0] = torch.inf
    (order,) = run(rank(of), x)
    assert order.tolist() == windows.window_rank(x, 4, 0).tolist() == [[5, 1, 2, 3, 0, 4]]


def test_ranks_of_half_maps_come_from_sums_in_float32():
    x = np.full((1, 7, 14, 4096), 30.0, np.float16)  # sums in half precision are all infinite
    x[:, :, 7:] = 31.0
    (order,) = run(rank(window_attributes(7, 14, 7, False), TensorProto.FLOAT16), torch.from_numpy(x))
    assert order.tolist() == [[1, 0]]


@on_maps
@shifted_or_not
@in_types
def test_gathered_tokens_are_the_windows_and_normed_ones_their_layer_norm(height, width, window_size, shifted, kind):
    of = window_attributes(height, width, window_size, shifted)
    count, dtype, tokens = (
        StageGeometry(height, width, window_size, 1).windows,
        TYPES[kind],
        (kind, [B, "n", "channels"]),
    )
    opened = session(
        "WindowGatherNorm",
        {"x": (kind, MAP), "index": (TensorProto.INT64, [B, "k"])}
        | dict.fromkeys(("scale", "bias"), (kind, ["channels"])),
        {"tokens": tokens, "normed": tokens},
        epsilon=1e-3,
        **of,
    )
    scale, bias = torch.randn(2, 8).to(dtype)
    for batch, k in ((1, count), (3, count // 2), (2, 0)):
        x, index = torch.randn(batch, height, width, 8).to(dtype), chosen(batch, k, count, torch.int64)
        gathered, normed = run(opened, x, index, scale, bias)
        expected = windows.window_gather(x, index, window_size, of["shift"]).flatten(1, 2)
        assert torch.equal(gathered, expected)
        wanted = torch.nn.functional.layer_norm(expected.double(), (8,), scale.double(), bias.double(), 1e-3)
        for answer in (normed, windows.window_gather_norm(x, index, scale, bias, window_size, of["shift"], 1e-3)[1]):
            torch.testing.assert_close(
                answer.double(), wanted, atol=1e-5 if dtype == torch.float32 else 4e-3, rtol=1e-3
            )
        assert torch.equal(normed[(gathered == 0).all(2)], bias.expand((gathered == 0).all(2).sum(), 8))


@pytest.mark.parametrize("window_size,heads,channels", [(7, 3, 48), (4, 1, 8), (8, 2, 32)])
@pytest.mark.parametrize("kinds", [1, 4])
@in_types
def test_attention_is_that_of_the_windows_listed(window_size, heads, channels, kinds, kind):
    t, count, dtype = window_size**2, 6, TYPES[kind]
    opened = session(
        "WindowAttention",
        {
            "qkv": (kind, [B, "n", 3 * channels]),
            "qkv_bias": (kind, [3 * channels]),
            "index": (TensorProto.INT32, [B, "k"]),
            "kind": (TensorProto.INT32, [count]),
            "position_bias": (kind, [kinds, heads, t, t]),
        },
        {"y": (kind, [B, "n", channels])},
        heads=heads,
        window_size=window_size,
    )
    kind_of = torch.arange(count, dtype=torch.int32) % kinds
    bias, position_bias = torch.randn(3 * channels).to(dtype), torch.randn(kinds, heads, t, t).to(dtype)
    position_bias[-1, :, :, t // 2 :] -= 100.0  # as the mask of a shifted window
    for batch, k in ((1, count), (3, 2), (2, 0)):
        qkv, index = torch.randn(batch, k * t, 3 * channels), chosen(batch, k, count)
        qkv[..., :channels] *= (channels // heads) ** -0.5
        qkv = qkv.to(dtype)
        (y,) = run(opened, qkv, bias, index, kind_of, position_bias)
        by_hand = torch.zeros(batch, k * t, channels, dtype=torch.float64)
        for i in range(batch):
            for j in range(k):
                rows = slice(j * t, (j + 1) * t)
                q, key, v = (qkv[i, rows].double() + bias.double()).view(t, 3, heads, -1).permute(1, 2, 0, 3)
                scores = q @ key.mT + position_bias[kind_of[index[i, j]]].double()
                by_hand[i, rows] = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        own = windows.window_attention(qkv, bias, index, kind_of, position_bias, heads, window_size)
        for answer in (y, own):
            assert answer.dtype == dtype
            torch.testing.assert_close(
                answer.double(), by_hand, atol=1e-5 if dtype == torch.float32 else 0.02, rtol=1e-3
            )


@on_maps
@shifted_or_not
@in_types
def test_sums_are_put_in_the_windows_places_and_nothing_else_changes(height, width, window_size, shifted, kind):
    of = window_attributes(height, width, window_size, shifted)
    count, dtype, tokens = (
        StageGeometry(height, width, window_size, 1).windows,
        TYPES[kind],
        (kind, [B, "n", "channels"]),
    )
    opened = session(
        "WindowScatterAdd",
        {
            "x": (kind, MAP),
            "tokens": tokens,
            "update": tokens,
            "bias": (kind, ["channels"]),
            "index": (TensorProto.INT32, [B, "k"]),
        },
        {"y": (kind, MAP)},
        **of,
    )
    bias = torch.randn(4).to(dtype)
    for batch, k in ((1, count), (3, count // 2), (2, 0)):
        x, index = torch.randn(batch, height, width, 4).to(dtype), chosen(batch, k, count)
        listed = windows.window_gather(x, index, window_size, of["shift"]).flatten(1, 2)
        update = torch.randn(listed.shape).to(dtype)
        (y,) = run(opened, x, listed, update, bias, index)
        summed = (listed.float() + (update.float() + bias.float())).to(dtype).unflatten(1, (k, window_size**2))
        expected = windows.window_scatter(x, summed, index, window_size, of["shift"])
        own = windows.window_scatter_add(x, listed, update, bias, index, window_size, of["shift"])
        assert torch.equal(own, expected)
        assert torch.equal(y == x, expected == x)  # what is not listed stays as it is
        limit = 0.0 if dtype == torch.float32 else 4e-3
        torch.testing.assert_close(y, expected, atol=limit, rtol=limit)
