"""NMS and RoIAlign over four levels: PyTorch and the nodes' portable bodies against the rules in NumPy."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from rcnn_oracle import roi_align, suppress
from sparsevit_exporter import nodes, regions

NAN = float("nan")


def session(op, inputs, output, output_type, **attributes):
    """A graph of one node and its body, of symbolic shapes."""
    graph = helper.make_graph(
        [helper.make_node(op, [name for name, _, _ in inputs], ["y"], domain=nodes.DOMAIN, **attributes)],
        "node",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info("y", output_type, output)],
    )
    model = helper.make_model(
        graph,
        functions=[f for f in nodes.functions() if f.name == op],
        opset_imports=[helper.make_opsetid("", nodes.OPSET), helper.make_opsetid(nodes.DOMAIN, nodes.VERSION)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def nms_by_node(boxes, scores, iou, threshold, limit):
    inputs = [("boxes", TensorProto.FLOAT, ["G", "N", 4]), ("scores", TensorProto.FLOAT, ["G", "N"])]
    attributes = {"iou": iou, "score_threshold": threshold, "limit": limit}
    run = session("NmsKeep", inputs, ["G", "N"], TensorProto.INT32, **attributes)
    keep = run.run(None, {"boxes": boxes, "scores": scores})[0]
    assert keep.dtype == np.int32 and ((keep == 0) | (keep == 1)).all()
    return keep == 1


def nms_by_torch(boxes, scores, iou, threshold, limit):
    return regions.nms_keep(torch.from_numpy(boxes), torch.from_numpy(scores), iou, threshold, limit).numpy()


BOTH_NMS = pytest.mark.parametrize("nms", [nms_by_torch, nms_by_node])


def random_boxes(rng, groups, count, extent=60.0):
    corner = rng.random_sample((groups, count, 2)) * extent
    return np.concatenate([corner, corner + rng.random_sample((groups, count, 2)) * 40 - 2], -1).astype(np.float32)


@BOTH_NMS
@pytest.mark.parametrize(("seed", "count", "limit"), [(0, 1, 5), (1, 40, 100), (2, 120, 100), (3, 120, 7), (4, 0, 5)])
def test_groups_are_suppressed_each_by_itself(nms, seed, count, limit):
    rng = np.random.RandomState(seed)
    boxes = random_boxes(rng, 3, count)
    scores = (rng.randint(0, 20, (3, count)) / np.float32(20)).astype(np.float32)  # many are equal
    found = nms(boxes, scores, 0.5, 0.25, limit)
    assert found.shape == (3, count) and found.dtype == bool
    for kept, own_boxes, own_scores in zip(found, boxes.astype(np.float64), scores):
        able = np.flatnonzero(own_scores > 0.25)
        expected = able[suppress(own_boxes[able], own_scores[able], 0.5)][:limit]
        np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(expected))


@BOTH_NMS
@pytest.mark.parametrize(
    ("iou", "other", "kept"),
    [
        (0.5, [0, 0, 5, 10], True),  # a half exactly is not beyond it
        (0.5, [0, 0, 5.01, 10], False),
        (0.7, [0, 0, 6.99, 10], True),
        (0.7, [0, 0, 7.01, 10], False),
        (0.5, [10, 0, 20, 10], True),  # an edge is shared
    ],
)
def test_the_overlap_on_the_edge(nms, iou, other, kept):
    boxes = np.array([[[0, 0, 10, 10], other]], np.float32)
    found = nms(boxes, np.array([[0.9, 0.8]], np.float32), iou, 0.0, 10)
    assert found.tolist() == [[True, kept]]


@BOTH_NMS
def test_what_has_no_area_suppresses_nothing_and_what_is_no_number_takes_no_part(nms):
    boxes = np.array(
        [[[5, 5, 5, 9], [5, 5, 5, 9], [9, 9, 0, 0], [0, 0, 9, 9], [NAN, 0, 9, 9], [1, 1, 9, 9], [0, 0, 9, 9]]],
        np.float32,
    )
    scores = np.array([[0.9, 0.8, 0.7, 0.6, 0.95, NAN, 0.05]], np.float32)
    found = nms(boxes, scores, 0.5, 0.05, 10)  # a score of the threshold is none
    assert found.tolist() == [[True, True, True, True, False, False, False]]


@BOTH_NMS
def test_equal_boxes_leave_one(nms):
    boxes = np.tile(np.array([1, 2, 30, 40], np.float32), (2, 1000, 1))
    scores = np.stack([np.full(1000, 0.5), np.full(1000, 0.01)]).astype(np.float32)
    found = nms(boxes, scores, 0.7, 0.05, 1000)
    assert np.flatnonzero(found[0]).tolist() == [0] and not found[1].any()


def align_by_node(maps, boxes, size):
    kind = TensorProto.FLOAT if maps[0].dtype == np.float32 else TensorProto.FLOAT16
    inputs = [(f"p{i}", kind, ["B", "C", f"h{i}", f"w{i}"]) for i in range(2, 6)]
    inputs.append(("boxes", TensorProto.FLOAT, ["B", "N", 4]))
    attributes = {"output_size": size, "finest_scale": 56, "strides": [4, 8, 16, 32]}
    run = session("MultiLevelRoiAlign", inputs, ["B", "N", "C", size, size], kind, **attributes)
    return run.run(None, {**{f"p{i}": m for i, m in enumerate(maps, 2)}, "boxes": boxes})[0]


def align_by_torch(maps, boxes, size):
    tensors = [torch.from_numpy(m) for m in maps]
    return regions.multi_level_roi_align(tensors, torch.from_numpy(boxes), size, 56, (4, 8, 16, 32)).numpy()


BOTH_ALIGN = pytest.mark.parametrize("align", [align_by_torch, align_by_node])


def random_maps(rng, batch, height, width, dtype=np.float32):
    return [rng.standard_normal((batch, 3, height >> i, width >> i)).astype(dtype) for i in range(4)]


@BOTH_ALIGN
@pytest.mark.parametrize(("size", "hw"), [(7, (128, 160)), (14, (96, 72)), (2, (8, 8))])
def test_regions_are_averaged_on_their_level(align, size, hw):
    rng = np.random.RandomState(size)
    maps = random_maps(rng, 2, *hw)
    extent = np.array(hw[::-1]) * 4.0
    corner = rng.random_sample((2, 30, 2)) * extent - 20  # some outside of the map
    boxes = np.concatenate([corner, corner + rng.random_sample((2, 30, 2)) ** 2 * extent * 1.3], -1).astype(np.float32)
    boxes[0, 0] = [0, 0, 112, 112]  # exactly twice the finest scale
    boxes[0, 1] = [-500, -500, -400, -400]
    found = align(maps, boxes, size)
    assert found.shape == (2, 30, 3, size, size)
    for b in range(2):
        levels = [m[b].astype(np.float64) for m in maps]
        expected = np.stack([roi_align(levels, box.astype(np.float64), size) for box in boxes[b]])
        np.testing.assert_allclose(found[b], expected, atol=1e-4)  # coordinates in float32


@BOTH_ALIGN
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_empty_boxes_give_zeros_of_the_maps_type(align, dtype):
    maps = random_maps(np.random.RandomState(0), 1, 32, 32, dtype)
    boxes = np.array([[[0, 0, 0, 0], [5, 5, 5, 50], [9, 9, 3, 3], [NAN, 0, 9, 9], [0, 0, 64, 64]]], np.float32)
    found = align(maps, boxes, 7)
    assert found.dtype == dtype and np.isfinite(found).all()
    assert not found[0, :4].any() and found[0, 4].any()
    assert align(maps, boxes[:, :0], 7).shape == (1, 0, 3, 7, 7)


def test_boxes_of_all_levels_are_told_apart():
    sides = np.array([10, 111.9, 112, 223.9, 224, 447.9, 448, 5000], np.float32)
    boxes = torch.from_numpy(np.stack([sides * 0, sides * 0, sides, sides], -1))
    assert regions.box_levels(boxes, 56).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_gradient_reaches_the_maps():
    maps = [torch.zeros(1, 2, 32 >> i, 32 >> i, requires_grad=True) for i in range(4)]
    boxes = torch.tensor([[[0.0, 0.0, 40.0, 40.0]]])
    regions.multi_level_roi_align(maps, boxes, 7, 56, (4, 8, 16, 32)).sum().backward()
    assert abs(float(maps[0].grad.sum()) - 2 * 49) < 1e-4  # each bin's weights sum to one
