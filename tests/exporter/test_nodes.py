"""The portable bodies in ONNX Runtime against the PyTorch operations, which are tested token by token."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from sparsevit_exporter import nodes, windows
from sparsevit_runtime.windows.geometry import StageGeometry


def session(height, width, window_size, shift, batch="batch", dtype=TensorProto.FLOAT):
    attributes = {"domain": nodes.DOMAIN, "height": height, "width": width, "window_size": window_size, "shift": shift}
    graph = helper.make_graph(
        [
            helper.make_node("WindowScore", ["x"], ["scores"], **attributes),
            helper.make_node("WindowGather", ["x", "index"], ["windows"], **attributes),
            helper.make_node("Neg", ["windows"], ["negated"]),
            helper.make_node("WindowScatter", ["x", "negated", "index"], ["y"], **attributes),
        ],
        "nodes",
        [
            helper.make_tensor_value_info("x", dtype, [batch, height, width, "channels"]),
            helper.make_tensor_value_info("index", TensorProto.INT64, [batch, "kept"]),
        ],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, "all"]),
            helper.make_tensor_value_info("windows", dtype, [batch, "kept", window_size**2, "channels"]),
            helper.make_tensor_value_info("y", dtype, [batch, height, width, "channels"]),
        ],
    )
    opsets = [helper.make_opsetid("", nodes.OPSET), helper.make_opsetid(nodes.DOMAIN, nodes.VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, functions=nodes.functions(), ir_version=10)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


MAPS = [(14, 21, 7), (10, 9, 7), (9, 10, 7), (7, 7, 7), (3, 5, 7), (1, 1, 7), (13, 11, 7), (8, 12, 4), (9, 6, 4)]


@pytest.mark.parametrize("height,width,window_size", MAPS)
@pytest.mark.parametrize("shifted", [False, True])
def test_bodies_match_torch(height, width, window_size, shifted):
    shift = window_size // 2 if shifted else 0
    run = session(height, width, window_size, shift)
    count = StageGeometry(height, width, window_size, 1).windows
    for batch in (1, 3):
        for k in {0, 1, count // 2, count}:
            x = torch.randn(batch, height, width, 4)
            index = torch.stack([torch.randperm(count)[:k] for _ in range(batch)])
            scores, gathered, scattered = run.run(None, {"x": x.numpy(), "index": index.numpy()})
            expected = windows.window_gather(x, index, window_size, shift)
            np.testing.assert_allclose(scores, windows.window_score(x, window_size, shift).numpy(), rtol=1e-5)
            np.testing.assert_array_equal(gathered, expected.numpy())
            np.testing.assert_array_equal(
                scattered, windows.window_scatter(x, -expected, index, window_size, shift).numpy()
            )


def test_scores_of_half_maps_accumulate_in_float32():
    run = session(7, 7, 7, 0, dtype=TensorProto.FLOAT16)
    x = np.full((1, 7, 7, 4096), 30.0, np.float16)  # a half accumulator would overflow at 65504
    scores = run.run(["scores"], {"x": x, "index": np.zeros((1, 1), np.int64)})[0]
    np.testing.assert_allclose(scores, [[30.0 * 7]], rtol=1e-5)
