"""The kernels' index arithmetic, compiled for the host, against NumPy's pad, roll and reshape."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from host_kernels import host_kernels

PADDING = -1


@pytest.fixture(scope="module")
def library():
    library = ctypes.CDLL(str(host_kernels()))
    library.firstWrongDivision.restype = ctypes.c_int64
    return library


def reference_table(height, width, window_size, shift):
    """(nW, T) int32 addresses by padding, rolling and tiling the map of all addresses."""
    rows, columns = -(-height // window_size), -(-width // window_size)
    padded = np.full((rows * window_size, columns * window_size), PADDING, np.int32)
    padded[:height, :width] = np.arange(height * width).reshape(height, width)
    rolled = np.roll(padded, (-shift, -shift), (0, 1))
    tiles = rolled.reshape(rows, window_size, columns, window_size).transpose(0, 2, 1, 3)
    return tiles.reshape(rows * columns, window_size * window_size)


def table(library, height, width, window_size, shift, first=0, count=None):
    if count is None:
        count = library.windowCount(height, width, window_size, shift)
    result = np.full((count, window_size**2), -7, np.int32)
    pointer = result.ctypes.data_as(ctypes.c_void_p)
    library.addressTable(height, width, window_size, shift, ctypes.c_int64(first), count, pointer)
    return result


@pytest.mark.parametrize("window_size", [1, 2, 3, 4, 7])
def test_every_small_map(library, window_size):
    for height in range(1, 17):
        for width in range(1, 17):
            for shift in range(window_size):
                expected = reference_table(height, width, window_size, shift)
                np.testing.assert_array_equal(
                    table(library, height, width, window_size, shift), expected, err_msg=f"{height}x{width} +{shift}"
                )


@pytest.mark.parametrize("height,width,window_size", [(168, 168, 7), (256, 512, 7), (257, 3, 12), (1, 5000, 8)])
def test_large_maps(library, height, width, window_size):
    for shift in (0, window_size // 2):
        expected = reference_table(height, width, window_size, shift)
        np.testing.assert_array_equal(table(library, height, width, window_size, shift), expected)


@pytest.mark.parametrize("first", [-(2**63), -(2**31), -1, 6, 2**31, 2**32, 2**32 + 1])
def test_windows_that_do_not_exist_are_padding(library, first):
    assert library.windowCount(14, 21, 7, 3) == 6
    assert (table(library, 14, 21, 7, 3, first, count=1) == PADDING).all()


@pytest.mark.parametrize("lanes", [1, 3, 12])
@pytest.mark.parametrize("height,width,window_size,shift", [(14, 21, 7, 0), (13, 10, 7, 3), (3, 2, 4, 2), (1, 1, 1, 0)])
def test_walk_of_the_kernels(library, height, width, window_size, shift, lanes):
    random = np.random.default_rng(0)
    addresses = reference_table(height, width, window_size, shift)
    for count in {0, 1, len(addresses) // 2, len(addresses)}:
        index = random.permutation(len(addresses))[:count].astype(np.int64)
        source = random.integers(1, 2**31 - 1, (height * width, lanes), np.int32)
        padded = np.concatenate([source, np.zeros((1, lanes), np.int32)])  # address -1 reads the zeros
        result = np.full((count, window_size**2, lanes), -7, np.int32)
        arrays = (array.ctypes.data_as(ctypes.c_void_p) for array in (index, source, result))
        library.gather(height, width, window_size, shift, lanes, count, *arrays)
        np.testing.assert_array_equal(result, padded[addresses[index]])


def test_division(library):
    for divisor in range(1, 3000):
        assert library.firstWrongDivision(divisor, 3 * divisor + 2, 1) == -1, divisor
    for divisor in [1, 2, 3, 7, 12, 49, 96, 641, 65537, 2**30 - 1, 2**30, 2**30 + 1, 2**31 - 1, 2**31]:
        assert library.firstWrongDivision(ctypes.c_uint32(divisor), ctypes.c_uint32(2**31), 9973) == -1, divisor
        for dividend in {2**31 - 1, divisor - 1, divisor, 2 * divisor - 1, 2**31 - divisor}:
            if 0 < dividend < 2**31:  # the only step at or above 0 that is below the limit, besides 0, is the dividend
                step, limit = ctypes.c_uint32(dividend), ctypes.c_uint32(dividend + 1)
                assert library.firstWrongDivision(ctypes.c_uint32(divisor), limit, step) == -1, (divisor, dividend)
