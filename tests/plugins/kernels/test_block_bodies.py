"""The portable bodies of a block's nodes, in ONNX Runtime, answer what the kernels do."""

from __future__ import annotations

import ctypes

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from attention_kernel import TOLERANCES, AttentionCase, check_attention, random_attention
from exports import open_session
from fused_kernels import EPSILON, check_fused, random_fused
from host_kernels import HostBuffer, host_kernels
from sparsevit_exporter.nodes import DOMAIN, OPSET, VERSION, functions
from window_kernels import Case, as_float

#: Padded and not, shifted and not; ids of both types, no window and all of them.
CASES = [
    Case(2, 13, 10, 24, 7, 3, 3, "float32"),
    Case(2, 14, 21, 40, 7, 0, 6, "float16", np.int32),
    Case(1, 9, 8, 16, 4, 2, 0, "float32", np.int32),
]
ATTENTION_CASES = [
    AttentionCase(2, 2, 3, 32, 7, "float16", np.int32, kinds=3),
    AttentionCase(1, 2, 2, 16, 8, "float32"),
    AttentionCase(1, 1, 1, 32, 12, "float16", kinds=2),
    AttentionCase(2, 1, 2, 10, 5, "float32", np.int32, kinds=2),
]


@pytest.fixture(scope="module")
def library():
    return ctypes.CDLL(str(host_kernels()))


def answers(folder, kind, inputs, attributes, *outputs):
    """Runs a model of one node and its body."""
    node = helper.make_node(kind, [*inputs], [*outputs], domain=DOMAIN, **attributes)
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    element = helper.np_dtype_to_tensor_dtype(next(iter(inputs.values())).dtype)
    element = TensorProto.INT32 if kind == "WindowRank" else element
    made = [helper.make_tensor_value_info(name, element, None) for name in outputs]
    graph = helper.make_graph([node], "node", given, made)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    bodies = [body for body in functions() if body.name == kind]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=bodies), folder / "m.onnx")
    return open_session(folder / "m.onnx").run(None, inputs)


def window_of(case):
    return {name: getattr(case, name) for name in ("height", "width", "window_size", "shift")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.element}-{case.keep}")
def test_gather_with_its_norm(library, tmp_path, case):
    inputs = random_fused("gather_norm", case, 1)
    written = check_fused(library, HostBuffer, "gather_norm", case, 1, given=inputs)
    attributes = {**window_of(case), "epsilon": EPSILON}
    tokens, normed = answers(tmp_path, "WindowGatherNorm", inputs, attributes, "tokens", "normed")
    np.testing.assert_array_equal(tokens, written["tokens"])
    tolerance = 1e-5 if case.element == "float32" else 1e-3
    np.testing.assert_allclose(as_float(normed, case.element), written["output"], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.element}-{case.keep}")
def test_scatter_with_its_sum(library, tmp_path, case):
    inputs = random_fused("scatter_add", case, 2)
    written = check_fused(library, HostBuffer, "scatter_add", case, 2, given=inputs)
    named = {name: inputs[name] for name in ("x", "tokens", "update", "bias", "index")}
    (y,) = answers(tmp_path, "WindowScatterAdd", named, window_of(case), "y")
    tolerance = 1e-6 if case.element == "float32" else 4e-3  # which may add in half precision
    np.testing.assert_allclose(y.astype(np.float32), written["output"], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.element}-{case.keep}")
def test_rank(library, tmp_path, case):
    inputs = random_fused("rank", case, 3)
    inputs["x"][0, 0, 0, 0] = np.nan
    written = check_fused(library, HostBuffer, "rank", case, 3, given=inputs)
    (order,) = answers(tmp_path, "WindowRank", inputs, window_of(case), "order")
    assert order.dtype == np.int32
    np.testing.assert_array_equal(order, written["output"])


@pytest.mark.parametrize("case", ATTENTION_CASES, ids=lambda case: f"{case.element}-{case.window_size}")
def test_attention(library, tmp_path, case):
    inputs = random_attention(case, 4)
    wanted = check_attention(library, HostBuffer, case, 4, given=inputs)
    attributes = {"heads": case.heads, "window_size": case.window_size}
    (y,) = answers(tmp_path, "WindowAttention", inputs, attributes, "y")
    # The body rounds its scores to half precision before it adds the position bias.
    tolerance = TOLERANCES[case.element] * (1 if case.element == "float32" else 3)
    np.testing.assert_allclose(y.astype(np.float32), wanted, rtol=tolerance, atol=tolerance)
