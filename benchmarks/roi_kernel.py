"""The C ABI of the MultiLevelRoiAlign kernel (plugins/kernels/c_abi.h), its NumPy reference, and a check that holds on
any memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from window_kernels import ELEMENTS, GUARD, Buffer, as_float, framed, poisoned, random_tensor, unframed

LEVELS = 4
#: What one rounding of the output may be off, of its size.
ROUNDING = {"float32": 2.0**-20, "float16": 2.0**-11, "bfloat16": 2.0**-8}


class RoiCall(ctypes.Structure):
    """SparsevitRoiCall."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "count", "channels")),
        *((name, ctypes.c_int32) for name in ("output_size", "element")),
        ("finest_scale", ctypes.c_float),
        ("strides", ctypes.c_float * LEVELS),
        ("heights", ctypes.c_int32 * LEVELS),
        ("widths", ctypes.c_int32 * LEVELS),
        ("maps", ctypes.c_void_p * LEVELS),
        *((name, ctypes.c_void_p) for name in ("boxes", "output", "stream")),
    )


class Launch(Protocol):
    """The pooling on some memory; returns the CUDA error."""

    def __call__(self, call: RoiCall) -> int: ...


@dataclass(frozen=True)
class RoiCase:
    """One call. `height`, `width`: pixels of the network's input, whose maps are as large as whole cells cover it."""

    batch: int
    count: int
    channels: int
    output_size: int = 7
    element: str = "float32"
    height: int = 224
    width: int = 320
    finest_scale: int = 56
    strides: tuple[int, ...] = (4, 8, 16, 32)

    def map_hw(self, level: int) -> tuple[int, int]:
        return -(-self.height // self.strides[level]), -(-self.width // self.strides[level])

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.batch, self.count, self.channels, self.output_size, self.output_size)

    def call(self, maps: list[int], **pointers: int) -> RoiCall:
        sizes = [self.map_hw(level) for level in range(LEVELS)]
        return RoiCall(
            batch=self.batch,
            count=self.count,
            channels=self.channels,
            output_size=self.output_size,
            element=ELEMENTS[self.element][0],
            finest_scale=self.finest_scale,
            strides=(ctypes.c_float * LEVELS)(*self.strides),
            heights=(ctypes.c_int32 * LEVELS)(*(height for height, _ in sizes)),
            widths=(ctypes.c_int32 * LEVELS)(*(width for _, width in sizes)),
            maps=(ctypes.c_void_p * LEVELS)(*maps),
            **pointers,
        )


#: Both sizes of output and others, blocks of 64 channels just filled and just not, maps that are not square, more than
#: one sample, no box, maps of a single cell, other strides.
ROI_CASES = [
    *(RoiCase(1, 40, channels, size) for channels in (1, 3, 64, 65) for size in (7, 14)),
    *(RoiCase(2, 30, 5, size, element) for element in ELEMENTS for size in (7, 14)),
    *(RoiCase(1, 30, 2, size) for size in (1, 2, 3, 5, 8, 13, 15, 28)),
    RoiCase(3, 20, 9, 7, "float16", 672, 250),
    RoiCase(1, 0, 4),
    RoiCase(0, 4, 4),
    RoiCase(2, 20, 3, 7, "float32", 20, 9),
    RoiCase(1, 40, 4, 7, "float16", 300, 300, 28, (2, 6, 12, 40)),
    RoiCase(1, 30, 2, 7, "float32", 64, 8192),  # rows of more cells than the fast way takes
    RoiCase(1, 20, 256, 7, "float16"),
]


def bind_roi(library: ctypes.CDLL) -> Launch:
    """The library's pooling."""
    function = library.sparsevit_multi_level_roi_align
    function.argtypes, function.restype = (ctypes.POINTER(RoiCall),), ctypes.c_int32

    def launch(call: RoiCall) -> int:
        return int(function(ctypes.byref(call)))

    return launch


def random_rois(case: RoiCase, seed: int) -> np.ndarray:
    """boxes (B, N, 4) float32: of all sizes, on the image, across its borders and beside it, and some that are none."""
    random = np.random.default_rng(seed)
    shape = (case.batch, case.count)
    image_wh = np.array([case.width, case.height])
    centres = random.uniform(-0.2, 1.2, (*shape, 2)) * image_wh
    sizes = np.exp(random.uniform(np.log(1), np.log(2 * max(image_wh)), (*shape, 2)))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], -1).astype(np.float32)
    flat = boxes.reshape(-1, 4)
    special = np.array(SPECIAL_BOXES, np.float32)
    places = random.permutation(len(flat))[: min(len(flat) // 2, len(special))]
    flat[places] = special[random.permutation(len(special))[: len(places)]]
    return boxes


#: Empty, turned round, endless, no number; at the borders of the levels; whole cells; around and beside the image.
SPECIAL_BOXES = [
    (0, 0, 0, 0),
    (10, 10, 10, 50),
    (10, 10, 50, 10),
    (50, 10, 10, 50),
    (50, 50, 10, 10),
    (np.nan, 0, 50, 50),
    (0, 0, 50, np.nan),
    (0, 0, np.inf, 50),
    (-np.inf, 0, 50, 50),
    (0, 0, 112, 112),
    (0, 0, 112, np.nextafter(np.float32(112), np.float32(0))),
    (0, 0, 111.99, 112),
    (8, 8, 232, 232),
    (8, 8, 231.99, 232),
    (-100, -100, 348, 348),
    (-100, -100, 347.98, 348),
    (0, 0, 28, 28),
    (2, 2, 30, 30),
    (-4, -4, 24, 24),
    (0, 0, 1, 1),
    (3, 3, 3.001, 3.001),
    (-500, -500, -400, -400),
    (5000, 5000, 5100, 5100),
    (-2, -2, 2, 2),
    (-100000, -100000, 100000, 100000),
    (0, 100, 300, 103),
    (100, 0, 103, 300),
]


def level_of(case: RoiCase, box: np.ndarray) -> int:
    """Of the map that a box (4) is read from, in float32 steps."""
    with np.errstate(invalid="ignore", over="ignore"):
        area = (box[2] - box[0]) * (box[3] - box[1])
        size = np.sqrt(area) / np.float32(case.finest_scale) + np.float32(1e-6)
    return int((size >= 2) + 0) + int(size >= 4) + int(size >= 8)


def axis_matrix(low: np.float32, high: np.float32, stride: int, bins: int, extent: int) -> np.ndarray:
    """(bins, extent) float64: what each cell weighs in each bin; positions in float32 steps."""
    matrix = np.zeros((bins, extent))
    with np.errstate(invalid="ignore"):
        start, end = (side / np.float32(stride) - np.float32(0.5) for side in (low, high))
        size = (end - start) / np.float32(bins)
    if not (size > 0 and np.isfinite(size)):
        return matrix
    samples = int(np.ceil(size))
    within = (np.arange(samples, dtype=np.float32) + np.float32(0.5)) * size / np.float32(samples)
    for i in range(bins):
        places = start + np.float32(i) * size + within
        places = np.maximum(places[(places >= -1) & (places <= extent)], np.float32(0))
        lower = np.minimum(places.astype(np.int64), extent - 1)
        upper = np.minimum(lower + 1, extent - 1)
        fraction = np.where(lower >= extent - 1, 0, places - lower).astype(np.float64)
        np.add.at(matrix[i], lower, (1 - fraction) / samples)
        np.add.at(matrix[i], upper, fraction / samples)
    return matrix


def expected_bins(case: RoiCase, maps: list[np.ndarray], boxes: np.ndarray) -> np.ndarray:
    """(B, N, C, size, size) float64."""
    result = np.zeros(case.output_shape)
    for sample in range(case.batch):
        for number, box in enumerate(boxes[sample]):
            level = level_of(case, box)
            stride, (height, width) = case.strides[level], case.map_hw(level)
            rows = axis_matrix(box[1], box[3], stride, case.output_size, height)
            columns = axis_matrix(box[0], box[2], stride, case.output_size, width)
            if rows.any() and columns.any():
                top, bottom = np.flatnonzero(rows.any(0))[[0, -1]]
                left, right = np.flatnonzero(columns.any(0))[[0, -1]]
                under = maps[level][sample, :, top : bottom + 1, left : right + 1]
                cells = as_float(under, case.element).astype(np.float64)
                result[sample, number] = rows[:, top : bottom + 1] @ cells @ columns[:, left : right + 1].T
    return result


def random_maps(case: RoiCase, seed: int) -> list[np.ndarray]:
    """(B, C, height, width) of each level."""
    random = np.random.default_rng(seed)
    shapes = [(case.batch, case.channels, *case.map_hw(level)) for level in range(LEVELS)]
    return [random_tensor(random, shape, case.element) for shape in shapes]


def check_roi(
    library: ctypes.CDLL,
    make_buffer: Callable[[np.ndarray], Buffer],
    case: RoiCase,
    seed: int,
    stream: int = 0,
    given: np.ndarray | None = None,
) -> np.ndarray:
    """Runs the kernel on random maps and boxes, or those boxes that are `given`, into a poisoned output and compares
    all of it.

    Args:
        make_buffer: uint8 array -> Buffer with these bytes, its address on a 256-byte boundary.

    Returns:
        What the kernel wrote, as float32.
    """
    maps = random_maps(case, seed)
    boxes = random_rois(case, seed) if given is None else given
    target = expected_bins(case, maps, boxes)
    dtype = np.dtype(ELEMENTS[case.element][1])
    sources = [make_buffer(framed(cells, 0)) for cells in maps]
    read = make_buffer(framed(boxes, 0))
    output = make_buffer(framed(poisoned(target.shape, dtype), 0))
    call = case.call(
        [source.address + GUARD for source in sources],
        boxes=read.address + GUARD,
        output=output.address + GUARD,
        stream=stream,
    )
    error = bind_roi(library)(call)
    what = f"{case} seed {seed}"
    assert error == 0, f"{what}: error {error}"
    written = unframed(output.read(), 0, target.shape, dtype)
    actual = as_float(written, case.element)
    np.testing.assert_allclose(actual, target, rtol=ROUNDING[case.element], atol=2e-5, err_msg=what)
    for source, cells in zip(sources, maps):
        assert unframed(source.read(), 0, cells.shape, cells.dtype).tobytes() == cells.tobytes(), "a map was written to"
    assert unframed(read.read(), 0, boxes.shape, boxes.dtype).tobytes() == boxes.tobytes(), "boxes were written to"
    return actual
