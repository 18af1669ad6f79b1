"""The portable bodies of PatchEmbed and LabelDecode, in ONNX Runtime, answer what the kernels do."""

from __future__ import annotations

import ctypes

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ends_kernels import EPSILON, TOLERANCES, DecodeCase, EmbedCase, check_decode, check_embed, random_embed
from exports import open_session
from host_kernels import HostBuffer, host_kernels
from sparsevit_exporter import ends_nodes, nodes
from window_kernels import random_tensor


@pytest.fixture(scope="module")
def library():
    return ctypes.CDLL(str(host_kernels()))


def answer(folder, kind, body, inputs, output, **attributes):
    """Runs a model of one node and its body; `output`: name and type."""
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    node = helper.make_node(kind, [*inputs], [output[0]], domain=nodes.DOMAIN, **attributes)
    graph = helper.make_graph([node], "node", given, [helper.make_tensor_value_info(*output, None)])
    opsets = [helper.make_opsetid("", nodes.OPSET), helper.make_opsetid(nodes.DOMAIN, nodes.VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=[nodes.function(body)])
    onnx.save(model, folder / "m.onnx")
    return open_session(folder / "m.onnx").run(None, inputs)[0]


@pytest.mark.parametrize(
    "case",
    [EmbedCase(2, 16, 24, 96), EmbedCase(1, 13, 22, 40, 8, "float16"), EmbedCase(1, 9, 31, 200)],
    ids=lambda case: f"{case.element}-{case.height}x{case.width}",
)
def test_embedding(library, tmp_path, case):
    tokens = check_embed(library, HostBuffer, case, seed=2)
    padded = bool(case.height % case.pad_multiple or case.width % case.pad_multiple)
    element = TensorProto.FLOAT16 if case.element == "float16" else TensorProto.FLOAT
    attributes = {"height": case.height, "width": case.width, "pad_multiple": case.pad_multiple, "epsilon": EPSILON}
    body = ends_nodes.patch_embed(padded)
    found = answer(tmp_path, "PatchEmbed", body, random_embed(case, 2), ("tokens", element), **attributes)
    limit = 2 * TOLERANCES[case.element]
    np.testing.assert_allclose(found.astype(np.float32), tokens, rtol=limit, atol=limit)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_decoding(library, tmp_path, scale):
    case = DecodeCase(2, 5, 7, 6, scale, "float16", (scale - 1, 0))
    logits = random_tensor(np.random.default_rng(scale), (2, 5, 7, 6), "float16")
    labels = check_decode(library, HostBuffer, case, 0, given=logits)
    _, height, width = case.output_shape
    body = ends_nodes.label_decode([(0, height)], (7, 6), scale, width)
    attributes = {"scale": scale, "height": height, "width": width}
    found = answer(tmp_path, "LabelDecode", body, {"logits": logits}, ("labels", TensorProto.UINT8), **attributes)
    assert found.shape == labels.shape and found.dtype == np.uint8
    assert (found != labels).mean() < 0.01, "but where two scores are equal to the last bits"
