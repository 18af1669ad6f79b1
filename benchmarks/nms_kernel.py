"""The C ABI of the NmsKeep kernel (plugins/kernels/c_abi.h), its NumPy reference, a check that holds on any memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from window_kernels import GUARD, Buffer, framed, poisoned, unframed

#: How the boxes of a case lie.
KINDS = ("scattered", "crowded", "identical", "tied", "broken")


class NmsCall(ctypes.Structure):
    """SparsevitNmsCall."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("groups", "count", "limit")),
        *((name, ctypes.c_float) for name in ("iou", "score_threshold")),
        *((name, ctypes.c_void_p) for name in ("boxes", "scores", "keep", "workspace", "stream")),
    )


class Launch(Protocol):
    """The suppression on some memory; returns the CUDA error."""

    def __call__(self, call: NmsCall) -> int: ...


@dataclass(frozen=True)
class NmsCase:
    """One call; `kind` is one of `KINDS`."""

    groups: int
    count: int
    iou: float = 0.5
    score_threshold: float = 0.05
    limit: int = 1 << 20
    kind: str = "crowded"

    def call(self, **pointers: int) -> NmsCall:
        return NmsCall(
            groups=self.groups,
            count=self.count,
            limit=self.limit,
            iou=self.iou,
            score_threshold=self.score_threshold,
            **pointers,
        )


#: Tiles of 64 boxes and blocks of 256 threads, just filled and just not; nothing at all; every kind of boxes.
NMS_CASES = [
    *(NmsCase(3, count, kind="crowded") for count in (1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 600)),
    *(NmsCase(2, 300, iou, kind=kind) for kind in KINDS for iou in (0.0, 0.3, 0.5, 0.7, 1.0)),
    *(NmsCase(2, 200, limit=limit, kind="scattered") for limit in (0, 1, 5, 64, 65, 199)),
    NmsCase(0, 10),
    NmsCase(10, 0),
    NmsCase(2, 100, score_threshold=0.99),
    NmsCase(2, 100, score_threshold=2.0),  # nothing takes part
    NmsCase(2, 100, score_threshold=-1.0, kind="broken"),
    NmsCase(1, 1000, kind="identical"),
    NmsCase(5, 1000, 0.7, -1.0),  # of a proposal network
    NmsCase(80, 100, 0.5, 0.05, 100),  # of classes
]


def bind_nms(library: ctypes.CDLL) -> Launch:
    """The library's suppression."""
    function = library.sparsevit_nms_keep
    function.argtypes, function.restype = (ctypes.POINTER(NmsCall),), ctypes.c_int32
    library.sparsevit_nms_keep_workspace.argtypes = (ctypes.c_int64, ctypes.c_int64)
    library.sparsevit_nms_keep_workspace.restype = ctypes.c_int64

    def launch(call: NmsCall) -> int:
        return int(function(ctypes.byref(call)))

    return launch


def workspace_bytes(library: ctypes.CDLL, case: NmsCase) -> int:
    """Of a library that `bind_nms` has been called with."""
    return int(library.sparsevit_nms_keep_workspace(case.groups, case.count))


def random_boxes(case: NmsCase, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """boxes (G, N, 4) and scores (G, N), float32."""
    random = np.random.default_rng(seed)
    shape = (case.groups, case.count)
    centres = random.uniform(0, 600 if case.kind == "scattered" else 120, (*shape, 2))
    smallest, largest = (4, 150) if case.kind == "scattered" else (30, 60)
    sizes = np.exp(random.uniform(np.log(smallest), np.log(largest), (*shape, 2)))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], -1).astype(np.float32)
    scores = random.random(shape, np.float32)
    if case.kind == "identical":
        boxes[:] = boxes[:, :1]
    if case.kind == "tied":
        boxes, scores = np.round(boxes / 32) * np.float32(32), np.round(scores * 4) / np.float32(4)
    if case.kind == "broken":
        what = random.integers(0, 8, shape)
        boxes[what == 0] = boxes[what == 0][:, [2, 1, 0, 3]]  # ends before it begins
        boxes[what == 1, 3] = boxes[what == 1, 1]  # no height
        boxes[what == 2, random.integers(0, 4)] = np.nan
        boxes[what == 3, 2:] = np.inf
        scores[what == 4] = random.choice(np.array([np.nan, np.inf, -np.inf, -0.0], np.float32), (what == 4).sum())
        scores[what == 5] = np.float32(case.score_threshold)
    return boxes, scores


def intersections_over_unions(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Of one box (4) with others (n, 4), in float32 steps; 0 where either is degenerate."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    intersection = sides[:, 0] * sides[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    result = intersection / ((area + areas) - intersection)
    return np.where((sides > 0).all(-1), result, np.float32(0))


def expected_keep(case: NmsCase, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """keep (G, N) int32: greedy, the highest score first, of equal ones the lower index."""
    keep = np.zeros(scores.shape, np.int32)
    with np.errstate(invalid="ignore", divide="ignore"):
        for group in range(case.groups):
            takes_part = (scores[group] > np.float32(case.score_threshold)) & ~np.isnan(boxes[group]).any(-1)
            left = np.flatnonzero(takes_part)
            left = left[np.argsort(-scores[group][left], kind="stable")]
            while len(left) and keep[group].sum() < case.limit:
                best, left = left[0], left[1:]
                keep[group, best] = 1
                overlap = intersections_over_unions(boxes[group, best], boxes[group, left])
                left = left[~(overlap > np.float32(case.iou))]
    return keep


def check_nms(
    library: ctypes.CDLL,
    make_buffer: Callable[[np.ndarray], Buffer],
    case: NmsCase,
    seed: int,
    stream: int = 0,
    given: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Runs the kernel on random boxes, or those that are `given`, into a poisoned output and compares all of it.

    Args:
        make_buffer: uint8 array -> Buffer with these bytes, its address on a 256-byte boundary.

    Returns:
        keep (G, N).
    """
    launch = bind_nms(library)
    boxes, scores = random_boxes(case, seed) if given is None else given
    target = expected_keep(case, boxes, scores)
    needed = workspace_bytes(library, case)
    buffers = {
        "boxes": make_buffer(framed(boxes, 0)),
        "scores": make_buffer(framed(scores, 0)),
        "keep": make_buffer(framed(poisoned(target.shape, np.dtype(np.int32)), 0)),
        "workspace": make_buffer(framed(poisoned((needed,), np.dtype(np.uint8)), 0)),
    }
    error = launch(case.call(**{name: buffer.address + GUARD for name, buffer in buffers.items()}, stream=stream))
    what = f"{case} seed {seed}"
    assert error == 0, f"{what}: error {error}"
    actual = unframed(buffers["keep"].read(), 0, target.shape, np.dtype(np.int32))
    np.testing.assert_array_equal(actual, target, err_msg=what)
    unframed(buffers["workspace"].read(), 0, (needed,), np.dtype(np.uint8))
    for name, array in (("boxes", boxes), ("scores", scores)):
        unchanged = unframed(buffers[name].read(), 0, array.shape, array.dtype)
        assert unchanged.tobytes() == array.tobytes(), f"{what}: {name} was written to"
    return actual
