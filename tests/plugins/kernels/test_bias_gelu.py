"""BiasGelu, run thread by thread on the host, against NumPy; tests/gpu has it on a GPU."""

from __future__ import annotations

import ctypes

import pytest

from bias_gelu_kernel import GELU_CASES, BiasGeluCall, check_gelu, launch_gelu
from gpu_kernels import INVALID_VALUE
from host_kernels import HostBuffer, host_kernels


@pytest.fixture(scope="module")
def library():
    return ctypes.CDLL(str(host_kernels()))


@pytest.mark.parametrize(("rows", "channels", "element"), GELU_CASES)
def test_every_case(library, rows, channels, element):
    check_gelu(library, HostBuffer, rows, channels, element, seed=1)


@pytest.mark.parametrize(("rows", "channels", "element"), [(-1, 8, 1), (4, 0, 1), (1 << 40, 8, 1), (4, 8, 3)])
def test_sizes_out_of_range_are_refused(library, rows, channels, element):
    assert launch_gelu(library, BiasGeluCall(rows, channels, element)) == INVALID_VALUE
