"""Suppression and RoIAlign on the GPU against NumPy, into poisoned outputs between guards.

Inputs are random and fresh in every run; the report's header has the seed.
"""

from __future__ import annotations

import numpy as np
import pytest

from gpu_kernels import INVALID_VALUE, DeviceBuffer
from nms_kernel import NMS_CASES, NmsCase, bind_nms, check_nms, expected_keep, random_boxes, workspace_bytes
from roi_kernel import (
    ROI_CASES,
    ROUNDING,
    SPECIAL_BOXES,
    RoiCase,
    bind_roi,
    check_roi,
    expected_bins,
    random_maps,
    random_rois,
)
from window_kernels import ELEMENTS, as_float

torch = pytest.importorskip("torch")

#: Proposals of a batch, classes of a batch, more boxes than TensorRT's own takes, more groups than a grid has rows.
LARGE_NMS = [
    NmsCase(20, 1000, 0.7, -1.0),
    NmsCase(320, 1000, 0.5, 0.05, 100),
    NmsCase(3, 5000, 0.5, 0.05),
    NmsCase(2, 9001, 0.7, 0.0, 1000, "tied"),
    NmsCase(2, 5000, 0.5, 0.0, kind="broken"),
    NmsCase(70000, 3, kind="tied"),
]
#: Boxes and masks of the network at 672x672 and 1024x2048, all boxes of a batch, an output of many bins.
LARGE_ROI = [
    RoiCase(1, 300, 64, 7, "float16", 672, 672),
    RoiCase(2, 100, 256, 7, "float16", 672, 672),
    RoiCase(1, 50, 256, 14, "float16", 672, 672),
    RoiCase(1, 100, 256, 14, "bfloat16", 672, 672),
    RoiCase(1, 200, 96, 7, "float32", 1024, 2048),
    RoiCase(4, 60, 33, 14, "float32", 500, 333),
    RoiCase(1, 20, 8, 56, "float16", 672, 672),
]


@pytest.mark.parametrize("number", range(len(NMS_CASES)), ids=lambda n: f"{n}-{NMS_CASES[n].kind}")
def test_every_suppression(kernels, seed, number):
    check_nms(kernels.library, DeviceBuffer, NMS_CASES[number], seed + number)


@pytest.mark.parametrize("case", LARGE_NMS, ids=lambda c: f"{c.groups}x{c.count}-{c.kind}")
def test_large_suppressions(kernels, seed, case):
    check_nms(kernels.library, DeviceBuffer, case, seed)


def test_overlaps_at_the_threshold_are_compared_as_numpy_does(kernels, seed):
    """Pairs, each against the threshold that is its own value, and one step below it."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 50, (200, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + random.uniform(20, 90, corners.shape).astype(np.float32)], -1)
    for pair in boxes:
        sides = np.minimum(pair[0, 2:], pair[1, 2:]) - np.maximum(pair[0, :2], pair[1, :2])
        if (sides <= 0).any():
            continue
        areas = (pair[:, 2] - pair[:, 0]) * (pair[:, 3] - pair[:, 1])
        iou = sides[0] * sides[1] / (areas[0] + areas[1] - sides[0] * sides[1])
        given = pair[None], np.array([[0.9, 0.8]], np.float32)
        at, below = float(iou), float(np.nextafter(iou, np.float32(0)))
        assert check_nms(kernels.library, DeviceBuffer, NmsCase(1, 2, at), 0, given=given).tolist() == [[1, 1]]
        assert check_nms(kernels.library, DeviceBuffer, NmsCase(1, 2, below), 0, given=given).tolist() == [[1, 0]]


@pytest.mark.parametrize("number", range(len(ROI_CASES)))
def test_every_roi_align(kernels, seed, number):
    check_roi(kernels.library, DeviceBuffer, ROI_CASES[number], seed + number)


@pytest.mark.parametrize(
    "case", LARGE_ROI, ids=lambda c: f"{c.batch}x{c.count}x{c.channels}-{c.output_size}-{c.element}"
)
def test_large_roi_aligns(kernels, seed, case):
    check_roi(kernels.library, DeviceBuffer, case, seed)


@pytest.mark.parametrize("size", [7, 14, 16])
@pytest.mark.parametrize("element", list(ELEMENTS))
def test_special_boxes(kernels, seed, size, element):
    case = RoiCase(1, len(SPECIAL_BOXES), 3, size, element)
    answer = check_roi(kernels.library, DeviceBuffer, case, seed, given=np.array([SPECIAL_BOXES], np.float32))
    assert np.isfinite(answer).all()


def test_a_suppression_replays_from_a_graph(kernels, seed):
    """Captured once, replayed on fresh inputs and poisoned outputs: nothing in a launch depends on the host."""
    case = NmsCase(5, 700, 0.5, 0.05, 200)
    launch = bind_nms(kernels.library)
    boxes, scores = (torch.zeros(shape, device="cuda") for shape in ((5, 700, 4), (5, 700)))
    keep = torch.zeros((5, 700), dtype=torch.int32, device="cuda")
    workspace = torch.zeros(workspace_bytes(kernels.library, case), dtype=torch.uint8, device="cuda")
    tensors = {"boxes": boxes, "scores": scores, "keep": keep, "workspace": workspace}
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        stream = torch.cuda.current_stream().cuda_stream
        error = launch(case.call(**{name: t.data_ptr() for name, t in tensors.items()}, stream=stream))
    assert error == 0
    for number in range(4):
        given = random_boxes(case, seed + number)
        boxes.copy_(torch.from_numpy(given[0]))
        scores.copy_(torch.from_numpy(given[1]))
        keep.fill_(-7)
        workspace.fill_(0xA5)
        graph.replay()
        np.testing.assert_array_equal(keep.cpu().numpy(), expected_keep(case, *given))


def test_a_roi_align_replays_from_a_graph(kernels, seed):
    case = RoiCase(2, 40, 48, 7, "float16", 300, 420)
    maps = [torch.from_numpy(cells).cuda() for cells in random_maps(case, seed)]
    boxes = torch.zeros((2, 40, 4), device="cuda")
    output = torch.zeros(case.output_shape, dtype=torch.float16, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        stream = torch.cuda.current_stream().cuda_stream
        addresses = {"boxes": boxes.data_ptr(), "output": output.data_ptr(), "stream": stream}
        error = bind_roi(kernels.library)(case.call([cells.data_ptr() for cells in maps], **addresses))
    assert error == 0
    for number in range(1, 4):
        given_maps, given_boxes = random_maps(case, seed + number), random_rois(case, seed + number)
        for tensor, cells in zip(maps, given_maps):
            tensor.copy_(torch.from_numpy(cells))
        boxes.copy_(torch.from_numpy(given_boxes))
        output.fill_(float("nan"))
        graph.replay()
        target = expected_bins(case, given_maps, given_boxes)
        actual = as_float(output.cpu().numpy(), case.element)
        np.testing.assert_allclose(actual, target, rtol=ROUNDING[case.element], atol=2e-5)


def test_answers_are_the_same_on_every_run(kernels, seed):
    nms, roi = NmsCase(10, 1500, kind="tied"), RoiCase(1, 50, 64, 7, "float16", 672, 672)
    assert len({check_nms(kernels.library, DeviceBuffer, nms, seed).tobytes() for _ in range(4)}) == 1
    assert len({check_roi(kernels.library, DeviceBuffer, roi, seed).tobytes() for _ in range(4)}) == 1


def test_on_a_stream(kernels, seed):
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    check_nms(kernels.library, DeviceBuffer, NmsCase(3, 200), seed, stream=stream.cuda_stream)
    check_roi(kernels.library, DeviceBuffer, RoiCase(1, 20, 8), seed, stream=stream.cuda_stream)


def test_refused_calls_leave_the_device_usable(kernels, seed):
    address = DeviceBuffer(np.zeros(1 << 16, np.uint8)).address
    call = NmsCase(2, 3).call(**dict.fromkeys(("boxes", "scores", "keep", "workspace"), address))
    call.workspace = address + 8
    assert bind_nms(kernels.library)(call) == INVALID_VALUE
    wrong = RoiCase(1, 1, 1, 0, height=8, width=8).call([address] * 4, boxes=address, output=address)
    assert bind_roi(kernels.library)(wrong) == INVALID_VALUE
    check_nms(kernels.library, DeviceBuffer, NmsCase(2, 90), seed)
    check_roi(kernels.library, DeviceBuffer, RoiCase(1, 20, 8), seed)
