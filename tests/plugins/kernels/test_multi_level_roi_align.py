"""RoIAlign over four maps, run thread by thread on the host, against NumPy; tests/gpu runs the same cases on a GPU."""

from __future__ import annotations

import ctypes
import secrets

import numpy as np
import pytest

from gpu_kernels import INVALID_VALUE
from host_kernels import HostBuffer, host_kernels
from roi_kernel import LEVELS, ROI_CASES, SPECIAL_BOXES, RoiCase, axis_matrix, bind_roi, check_roi, level_of


@pytest.fixture(scope="module")
def library():
    library = ctypes.CDLL(str(host_kernels()))
    library.roiLevelOf.argtypes = (ctypes.c_float,) * 3
    library.weightsOf.argtypes = (*(ctypes.c_float,) * 3, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p)
    return library


def weights(library, low, high, stride, bins, extent):
    """((bins, extent) weights, samples of a bin)."""
    matrix = np.zeros((bins, extent), np.float32)
    samples = library.weightsOf(low, high, stride, bins, extent, matrix.ctypes.data)
    return matrix, samples


@pytest.mark.parametrize("number", range(len(ROI_CASES)))
def test_every_case(library, number):
    check_roi(library, HostBuffer, ROI_CASES[number], number)


def test_random_sizes(library):
    seed = secrets.randbits(32)
    random = np.random.default_rng(seed)
    for number in range(15):
        batch, count, channels, size = (int(random.integers(1, top)) for top in (3, 25, 20, 16))
        height, width = (int(side) for side in random.integers(1, 700, 2))
        element = str(random.choice(["float32", "float16", "bfloat16"]))
        check_roi(library, HostBuffer, RoiCase(batch, count, channels, size, element, height, width), seed + number)


@pytest.mark.parametrize("size", [7, 14, 16])
def test_special_boxes(library, size):
    """All of them on a map that is not square, by weights and, at 16, by samples."""
    case = RoiCase(1, len(SPECIAL_BOXES), 3, size)
    answer = check_roi(library, HostBuffer, case, 1, given=np.array([SPECIAL_BOXES], np.float32))
    assert np.isfinite(answer).all()
    for box, bins in zip(SPECIAL_BOXES, answer[0]):
        is_box = np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1]
        meets = is_box and box[2] > -2 and box[3] > -2 and box[0] < case.width and box[1] < case.height
        assert bins.any() == meets, box


def test_boxes_of_more_cells_than_the_fast_way_takes(library):
    """Needles, whose area keeps them on the finest map: 500 and 2000 cells along one side."""
    needles = [(-40, 10, 1960, 12), (20, 30, 8020, 31), (8100, 5, 8190, 60)]
    for case, boxes in (
        (RoiCase(1, 3, 2, 7, height=64, width=8192), needles),
        (RoiCase(1, 3, 2, 14, height=8192, width=64), [(y, x, y2, x2) for x, y, x2, y2 in needles]),
    ):
        assert level_of(case, np.array(boxes[1], np.float32)) == 0
        answer = check_roi(library, HostBuffer, case, 1, given=np.array([boxes], np.float32))
        assert (answer != 0).any((2, 3, 4)).all()


@pytest.mark.parametrize(
    ("side", "level"),
    [
        (1, 0),
        (111.9999, 0),
        (111.99995, 1),  # the 1e-6 lifts it
        (112, 1),
        (223.9997, 1),
        (224, 2),
        (447.999, 2),
        (448, 3),
        (1e5, 3),
        (3e38, 3),
    ],
)
def test_level(library, side, level):
    assert library.roiLevelOf(side, side, 56) == level
    assert level_of(RoiCase(1, 1, 1), np.array([0, 0, side, side], np.float32)) == level


def test_level_of_every_size_around_the_borders(library):
    case = RoiCase(1, 1, 1)
    for border in (112, 224, 448):
        sides = np.float32(border) + np.arange(-60, 60, dtype=np.float32) * np.spacing(np.float32(border))
        found = [library.roiLevelOf(side, side, 56) for side in sides]
        assert found == [level_of(case, np.array([0, 0, side, side], np.float32)) for side in sides]
        assert len(set(found)) == 2 and found == sorted(found)


@pytest.mark.parametrize("border", [2, 4, 8])
def test_a_box_exactly_at_the_border_is_read_from_the_coarser_map(library, border):
    """One whose relative size and the 1e-6 sum to the border itself, and the next smaller one."""
    sides = np.float32(border) - np.arange(20, dtype=np.float32) * np.spacing(np.float32(border)) / 2
    reached = sides + np.float32(1e-6)
    at, below = sides[reached == border][0], sides[reached < border][0]
    levels = [library.roiLevelOf(side, side, 1) for side in (at, below)]
    assert levels == [int(np.log2(border)), int(np.log2(border)) - 1]


def test_level_goes_by_the_area(library):
    assert library.roiLevelOf(448, 28, 56) == 1
    assert library.roiLevelOf(448, 27.99, 56) == 0
    assert [library.roiLevelOf(w, h, 56) for w, h in ((-1, 5), (np.nan, 5), (-300, -300))] == [0, 0, 2]


def test_a_box_is_read_from_the_map_that_fits_its_size(library):
    case = RoiCase(1, 4, 2, 7, height=672, width=672)
    boxes = np.array([[(100, 100, 100 + side, 100 + side) for side in (50, 112, 224, 448)]], np.float32)
    maps = [HostBuffer(np.full((2, *case.map_hw(i)), i + 1, np.float32).reshape(-1).view(np.uint8)) for i in range(4)]
    read, output = HostBuffer(boxes.view(np.uint8).reshape(-1)), HostBuffer(np.zeros(4 * 2 * 49 * 4, np.uint8))
    call = case.call([cells.address for cells in maps], boxes=read.address, output=output.address)
    assert bind_roi(library)(call) == 0
    bins = output.read().view(np.float32).reshape(4, 2, 7, 7)
    np.testing.assert_allclose(bins, np.arange(1, 5).reshape(4, 1, 1, 1) + np.zeros(bins.shape), rtol=1e-6)


@pytest.mark.parametrize("bins", [1, 7, 14])
@pytest.mark.parametrize("stride", [4, 32, 3])
def test_weights_of_an_axis(library, bins, stride):
    random = np.random.default_rng(bins * stride)
    for extent in (1, 2, 5, 21, 168):
        for _ in range(40):
            centre, size = random.uniform(-0.5, 1.5) * extent * stride, np.exp(random.uniform(0, 9))
            low, high = np.float32(centre - size / 2), np.float32(centre + size / 2)
            found, _ = weights(library, low, high, stride, bins, extent)
            np.testing.assert_allclose(found, axis_matrix(low, high, stride, bins, extent), atol=2e-6)


@pytest.mark.parametrize(
    ("low", "high", "samples"),
    [
        (0, 28, 1),
        (0, 28.001, 2),
        (0, 56, 2),
        (10, 10, 0),
        (10, 9, 0),
        (0, 4 * 7e6, 1000000),
        (0, 1e30, 0),
        (0, np.inf, 0),
        (np.nan, 28, 0),
        (-np.inf, np.inf, 0),
    ],
)
def test_samples_of_a_bin(library, low, high, samples):
    assert weights(library, low, high, 4, 7, 100)[1] == samples


def test_samples_beside_the_map_weigh_nothing_and_up_to_a_cell_away_as_the_border(library):
    inside = weights(library, -2, 2, 4, 1, 10)[0]  # at -0.5
    np.testing.assert_array_equal(inside, [[1, *[0] * 9]])
    assert weights(library, -4, 0, 4, 1, 10)[0].sum() == 1  # at -1.0
    assert weights(library, -4.01, -0.01, 4, 1, 10)[0].sum() == 0
    assert weights(library, 40, 44, 4, 1, 10)[0][0, 9] == 1  # at 10.0
    assert weights(library, 40.01, 44.01, 4, 1, 10)[0].sum() == 0


def test_a_box_as_large_as_a_country_takes_no_longer_than_the_map(library):
    matrix, samples = weights(library, -1e6, 1e6, 4, 7, 100)
    assert samples == 71429
    np.testing.assert_allclose(matrix, axis_matrix(np.float32(-1e6), np.float32(1e6), 4, 7, 100), atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": -1},
        {"count": -1},
        {"batch": 1 << 20, "count": 1 << 20},
        {"channels": 0},
        {"channels": 1 << 40},
        {"output_size": 0},
        {"output_size": 1025},
        {"element": 3},
        {"element": -1},
        {"finest_scale": 0.0},
        {"finest_scale": np.nan},
        {"strides": (4, 8, 0, 32)},
        {"strides": (4, 8, 16, np.nan)},
        {"heights": (1, 0, 1, 1)},
        {"widths": (1, 1, 1, -5)},
    ],
    ids=str,
)
def test_refused(library, changes):
    address = HostBuffer(np.zeros(4096, np.uint8)).address
    call = RoiCase(1, 1, 1, height=8, width=8).call([address] * LEVELS, boxes=address, output=address)
    for name, value in changes.items():
        setattr(call, name, type(getattr(call, name))(*value) if isinstance(value, tuple) else value)
    assert bind_roi(library)(call) == INVALID_VALUE
