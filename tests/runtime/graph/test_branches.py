"""Bodies without conditions: the same answers, and nothing else of a file changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from exports import EXPORTED_BEFORE
from sparsevit_runtime.graph.branches import without_conditions
from sparsevit_runtime.images.probe import probe_image


def answers(data: bytes) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    image, keep = session.get_inputs()
    pairs = np.full(keep.shape, 1, np.int64)
    return session.run(None, {"image": probe_image(*image.shape[1:3], 0)[None], "keep": pairs})


def conditions(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "If" for body in model.functions for node in body.node)


@pytest.mark.parametrize("which", ["of today", "exported before"])
def test_every_node_has_the_body_of_its_map(exported, which):
    path = exported() if which == "of today" else EXPORTED_BEFORE
    data = path.read_bytes()
    chosen = without_conditions(data)
    before, model = onnx.load_from_string(data), onnx.load_from_string(chosen)
    onnx.checker.check_model(model)
    assert conditions(before) == {"of today": 3, "exported before": 2}[which] and not conditions(model)
    bodies = {body.name for body in model.functions}
    assert bodies == {node.op_type for node in model.graph.node if node.domain == "sparsevit"}
    for node, old in zip(model.graph.node, before.graph.node, strict=True):
        if node.op_type != old.op_type:
            of = {attribute.name: attribute.i for attribute in node.attribute}
            windows = of.get("window_size", 2)  # else patches are merged
            padded = any(of[side] % windows for side in ("height", "width"))
            assert node.op_type == old.op_type + ("OfPadded" if padded else "OfWhole")
            node.op_type = old.op_type
    del model.functions[:], before.functions[:]
    assert model == before
    for found, expected in zip(answers(chosen), answers(data), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert without_conditions(chosen) == chosen


def test_a_node_without_windows_is_told(exported):
    model = onnx.load(exported())
    model.graph.node.append(
        helper.make_node("WindowGatherNorm", [], ["y"], domain="sparsevit", height=3, window_size=0)
    )
    with pytest.raises(ValueError, match="'window_size': 0"):
        without_conditions(model.SerializeToString())
