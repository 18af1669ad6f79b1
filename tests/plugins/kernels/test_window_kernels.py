"""Launchers and kernels, run thread by thread on the host, against NumPy; tests/gpu runs the same cases on a GPU."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest

import window_kernels
from gpu_kernels import INVALID_VALUE
from host_kernels import HostBuffer, host_kernels
from window_kernels import CASES, UNALIGNED, Case, Kernels, check


@pytest.fixture(scope="module")
def kernels():
    return Kernels(host_kernels())


@pytest.mark.parametrize(
    "token_bytes,first,second,width",
    [
        (96 * 2, 0x1000, 0x2000, 16),  # stage 0 of Swin-T in half precision
        (16, 0, 0x10, 16),
        (24, 0x1000, 0x2000, 8),
        (192, 0x1008, 0x2000, 8),
        (192, 0x1000, 0x2004, 4),
        (12, 0x1000, 0x2000, 4),
        (10, 0x1000, 0x2000, 2),
        (192, 0x1001, 0x2000, 1),  # no element lies there: the launchers refuse it
    ],
)
def test_widest_vector_that_fits(kernels, token_bytes, first, second, width):
    function = kernels.library.vectorBytes
    assert function(*map(ctypes.c_int64, (token_bytes, first, second))) == width


@pytest.mark.parametrize("kernel", ["score", "gather", "scatter"])
def test_every_case(kernels, kernel):
    for seed, case in enumerate(CASES + UNALIGNED):
        if kernel != "score" or case.keep == 0 or case.offset:
            check(kernels, HostBuffer, kernel, case, seed)


def test_scatter_in_place(kernels):
    for seed, case in enumerate(CASES + UNALIGNED):
        check(kernels, HostBuffer, "scatter", case, seed, in_place=True)


@pytest.mark.parametrize("kernel", ["gather", "scatter"])
@pytest.mark.parametrize(
    "case",
    [
        Case(1, 168, 168, 96, 7, 3, 400),  # several vectors per thread
        Case(65537, 1, 1, 1, 1, 0, 1, "float16", np.int32),  # more samples than a grid has rows
        Case(2, 42, 42, 384, 7, 3, 14, "bfloat16"),
    ],
    ids=lambda c: f"{c.batch}x{c.height}x{c.width}x{c.channels}",
)
def test_large(kernels, kernel, case):
    check(kernels, HostBuffer, kernel, case, seed=1)


def test_score_of_a_large_batch(kernels):
    check(kernels, HostBuffer, "score", Case(40, 5, 3, 8, 2, 1, 0, "float16"), seed=2)


def test_score_sums_in_float(kernels):
    """A half accumulator would overflow at 65504, a bfloat16 one would stop growing at 256."""
    for element, one in (("float16", np.float16(30)), ("bfloat16", np.uint16(0x41F0))):
        case = Case(1, 7, 7, 4096, 7, 0, 0, element)
        x, scores = HostBuffer(np.full(7 * 7 * 4096, one).view(np.uint8)), HostBuffer(np.zeros(4, np.uint8))
        assert kernels.launch("score", case.call(x=x.address, output=scores.address)) == 0
        np.testing.assert_allclose(scores.read().view(np.float32), 30.0 * 7, rtol=1e-6)


def test_windows_that_do_not_exist(kernels):
    """They read zeros and write nowhere."""
    case = Case(1, 9, 10, 8, 7, 3, 4, "float16")
    inputs = window_kernels.random_inputs(case, 0)
    inputs["index"] = np.array([[1, -1, 4, 2**40]], np.int64)
    x, windows, index = (HostBuffer(inputs[n].view(np.uint8).reshape(-1)) for n in ("x", "windows", "index"))
    addresses = {"x": x.address, "windows": windows.address, "index": index.address}
    real = replace(case, keep=1)
    one = {"x": inputs["x"], "windows": inputs["windows"][:, :1], "index": inputs["index"][:, :1]}
    for kernel in ("gather", "scatter"):
        target = window_kernels.expected(kernel, real, one)
        if kernel == "gather":
            target = np.concatenate([target, np.zeros((1, 3, *target.shape[2:]), np.float16)], 1)
            output = HostBuffer(np.full(target.nbytes, window_kernels.POISON, np.uint8))
        else:
            output = x  # in place: four listed windows are as many as the map has, so nothing would be copied
        assert kernels.launch(kernel, case.call(**addresses, output=output.address)) == 0
        assert output.read().tobytes() == target.tobytes()


def test_refused_calls(kernels):
    good = Case(1, 14, 14, 8, 7, 3, 2)
    buffer = HostBuffer(np.zeros(1 << 16, np.uint8)).address
    pointers = {"x": buffer, "windows": buffer, "index": buffer, "output": buffer}
    bad = [
        *((kernel, replace(good, channels=2**40), {}) for kernel in ("score", "gather", "scatter")),
        ("gather", replace(good, keep=2**31), {}),
        ("gather", good, {"index_bytes": 2}),
        ("scatter", good, {"index_bytes": 1}),
        ("gather", good, {"x": buffer + 1}),
        ("score", replace(good, channels=0), {}),
        ("score", good, {"element": 3}),
        ("score", replace(good, shift=7), {}),
        ("score", replace(good, window_size=0), {}),
        ("gather", replace(good, height=2**31), {}),
    ]
    for kernel, case, changes in bad:
        call = case.call(**pointers)
        for name, value in changes.items():
            setattr(call, name, value)
        assert kernels.launch(kernel, call) == INVALID_VALUE, (kernel, case, changes)
    assert kernels.error_text(INVALID_VALUE) == "invalid argument"
