"""The portable bodies of the nodes for boxes, in ONNX Runtime, answer what the kernels do."""

from __future__ import annotations

import ctypes

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exports import open_session
from host_kernels import HostBuffer, host_kernels
from nms_kernel import KINDS, NmsCase, check_nms, random_boxes
from roi_kernel import LEVELS, RoiCase, check_roi, random_maps, random_rois
from sparsevit_exporter.nodes import DOMAIN, OPSET, VERSION, functions


@pytest.fixture(scope="module")
def library():
    return ctypes.CDLL(str(host_kernels()))


def answer(folder, node, feeds, output):
    """Runs a model of one node and its body; `output`: its type."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in feeds]
    outputs = [helper.make_tensor_value_info(node.output[0], output, None)]
    graph = helper.make_graph([node], "node", inputs, outputs)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    bodies = [body for body in functions() if body.name == node.op_type]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=bodies), folder / "m.onnx")
    return open_session(folder / "m.onnx").run(None, feeds)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("iou", "limit"), [(0.5, 1000), (0.7, 20)])
def test_suppression(library, tmp_path, kind, iou, limit):
    case = NmsCase(3, 200, iou, 0.05, limit, kind)
    boxes, scores = random_boxes(case, 1)
    attributes = {"iou": case.iou, "score_threshold": case.score_threshold, "limit": case.limit}
    node = helper.make_node("NmsKeep", ["boxes", "scores"], ["keep"], domain=DOMAIN, **attributes)
    keep = answer(tmp_path, node, {"boxes": boxes, "scores": scores}, TensorProto.INT32)
    assert keep.dtype == np.int32
    np.testing.assert_array_equal(keep, check_nms(library, HostBuffer, case, 1, given=(boxes, scores)))


@pytest.mark.parametrize("size", [7, 14])
def test_roi_align(library, tmp_path, size):
    case = RoiCase(2, 40, 5, size)
    boxes = np.nan_to_num(np.clip(random_rois(case, 2), -1000, 1000))  # without end, ONNX Runtime's has none either
    maps = {f"p{i + 2}": cells for i, cells in enumerate(random_maps(case, 2))}
    attributes = {"output_size": size, "finest_scale": case.finest_scale, "strides": list(case.strides)}
    node = helper.make_node("MultiLevelRoiAlign", [*maps, "boxes"], ["regions"], domain=DOMAIN, **attributes)
    assert len(maps) == LEVELS
    regions = answer(tmp_path, node, {**maps, "boxes": boxes}, TensorProto.FLOAT)
    np.testing.assert_allclose(regions, check_roi(library, HostBuffer, case, 2, given=boxes), atol=1e-5)
