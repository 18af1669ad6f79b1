"""WindowGatherNorm, WindowScatterAdd and WindowRank, run thread by thread on the host, against NumPy.

tests/gpu runs the same cases on a GPU.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from fused_kernels import (
    FUSED_CASES,
    KERNELS,
    check_fused,
    crowded,
    expected_fused,
    fused_call,
    launch_fused,
    random_fused,
    rank_workspace,
)
from gpu_kernels import INVALID_VALUE
from host_kernels import HostBuffer, host_kernels
from window_kernels import ELEMENTS, POISON, Case


@pytest.fixture(scope="module")
def library():
    return ctypes.CDLL(str(host_kernels()))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("element", ELEMENTS)
def test_every_case(library, kernel, element):
    for seed, case in enumerate(FUSED_CASES[kernel]):
        if case.element == element:
            check_fused(library, HostBuffer, kernel, case, seed)


def test_scatter_in_place(library):
    for seed, case in enumerate(FUSED_CASES["scatter_add"]):
        check_fused(library, HostBuffer, "scatter_add", case, seed, in_place=True)


def test_a_large_scatter(library):
    """Several vectors per thread."""
    check_fused(library, HostBuffer, "scatter_add", Case(1, 168, 168, 96, 7, 3, 400), seed=1)


def test_windows_that_do_not_exist(library):
    """They read zeros, whose LayerNorm is the bias, and write nowhere."""
    case = Case(1, 9, 10, 8, 7, 3, 4, "float32")
    ids = np.array([[1, -1, 4, 2**40]], np.int64)
    real = replace(case, keep=1)
    inputs = random_fused("gather_norm", case, 0)
    inputs["index"] = ids
    target = expected_fused("gather_norm", real, {**inputs, "index": ids[:, :1]})
    buffers = {name: HostBuffer(array.view(np.uint8).reshape(-1)) for name, array in inputs.items()}
    buffers |= {name: HostBuffer(np.full(4 * 49 * 8 * 4, POISON, np.uint8)) for name in ("tokens", "output")}
    call = fused_call(case, **{name: buffer.address for name, buffer in buffers.items()})
    assert launch_fused(library, "gather_norm", call) == 0
    tokens, normed = (buffers[name].read().view(np.float32).reshape(4, 49, 8) for name in ("tokens", "output"))
    np.testing.assert_array_equal(tokens[0], target["tokens"].reshape(49, 8))
    np.testing.assert_array_equal(tokens[1:], 0)
    np.testing.assert_allclose(normed[0], target["output"].reshape(49, 8), atol=1e-5)
    np.testing.assert_array_equal(normed[1:], np.broadcast_to(inputs["bias"], (3, 49, 8)))

    inputs = random_fused("scatter_add", case, 1)
    one = {**inputs, "index": ids[:, :1], "tokens": inputs["tokens"][:, :49], "update": inputs["update"][:, :49]}
    target = expected_fused("scatter_add", real, one)
    inputs["index"] = ids
    buffers = {name: HostBuffer(array.view(np.uint8).reshape(-1)) for name, array in inputs.items()}
    addresses = {name: buffer.address for name, buffer in buffers.items()}
    assert launch_fused(library, "scatter_add", fused_call(case, **addresses, output=addresses["x"])) == 0
    y = buffers["x"].read().view(np.float32).reshape(target["output"].shape)
    np.testing.assert_allclose(y, target["output"], atol=1e-6)


def test_a_layer_norm_of_large_values_has_their_variance(library):
    """Two passes: the difference of squares would lose it."""
    case = Case(1, 3, 3, 96, 3, 0, 1, "float32")
    inputs = random_fused("gather_norm", case, 3)
    inputs["x"] += np.float32(4000)
    deviation = inputs["x"].astype(np.float64) - inputs["x"].astype(np.float64).mean(-1, keepdims=True)
    inputs["x"] = (np.round(deviation * 64) / 64 + 4096).astype(np.float32)  # which float32 holds exactly
    buffers = {name: HostBuffer(array.view(np.uint8).reshape(-1)) for name, array in inputs.items()}
    buffers |= {name: HostBuffer(np.zeros(9 * 96 * 4, np.uint8)) for name in ("tokens", "output")}
    call = fused_call(case, **{name: buffer.address for name, buffer in buffers.items()})
    assert launch_fused(library, "gather_norm", call) == 0
    target = expected_fused("gather_norm", case, inputs)["output"]
    actual = buffers["output"].read().view(np.float32).reshape(target.shape)
    np.testing.assert_allclose(actual, target, atol=2e-3)  # the mean has 12 bits behind its point


def test_threads_of_a_token_hold_all_of_it(library):
    held = ctypes.c_int32()
    empty = {}
    for vectors in range(1, 400):
        threads = library.tokenTeamOf(ctypes.c_int64(vectors), ctypes.byref(held))
        if vectors > 384:
            assert held.value == 0, "more than a warp has registers for"
            continue
        assert threads in (1, 2, 4, 8, 16, 32) and held.value in (3, 4, 6, 12)
        empty[vectors] = threads * held.value - vectors
        assert empty[vectors] >= 0
    for channels in (96, 192, 384, 768, 1536, 128, 256, 512, 1024):  # Swin's, in half precision
        assert empty[channels // 8] == 0


@pytest.mark.parametrize("windows", [1, 2, 3, 4, 31, 32, 33, 1000, 1024, 4095, 4096, 4097, 6001])
def test_the_sort_is_stable_and_numbers_come_first(library, windows):
    """As many windows as are counted, one fewer, one more, and more than are sorted at once; ties, infinities, NaN."""
    random = np.random.default_rng(windows)
    scores = random.standard_normal((2, windows)).astype(np.float32)
    scores[:, ::3] = np.round(scores[:, ::3])
    scores[1, random.random(windows) < 0.1] = np.nan
    scores[1, random.random(windows) < 0.1] = random.choice(np.float32([np.inf, -np.inf, -0.0, 0.0, -np.nan]))
    workspace = rank_workspace(library, Case(2, 1, windows, 1, 1, 0, 0))
    assert workspace == 2 * windows * (4 if windows <= 4096 else 8)
    buffer = HostBuffer(np.full(workspace, POISON, np.uint8))
    order = np.full((2, windows), -1, np.int32)
    pointers = (ctypes.c_void_p(address) for address in (scores.ctypes.data, order.ctypes.data, buffer.address))
    assert library.sortWindows(windows, ctypes.c_int64(2), *pointers) == 0
    np.testing.assert_array_equal(order, np.argsort(-scores, axis=-1, kind="stable"))


def test_ranks_of_equal_windows(library):
    case = Case(2, 21, 21, 5, 3, 1, 0)
    check_fused(library, HostBuffer, "rank", case, 1, given=crowded(case, 1))
    nothing = {"x": np.zeros((2, 21, 21, 5), np.float32)}
    written = check_fused(library, HostBuffer, "rank", case, 1, given=nothing)
    np.testing.assert_array_equal(written["output"], np.tile(np.arange(49), (2, 1)))


def test_windows_that_are_no_number_come_last(library):
    case = Case(1, 9, 12, 4, 3, 0, 0, "float16")
    inputs = random_fused("rank", case, 2)
    inputs["x"][0, 4, 2, 1] = np.nan  # window 4
    inputs["x"][0, 0, 0, 0] = np.nan
    written = check_fused(library, HostBuffer, "rank", case, 2, given=inputs)
    assert written["output"][0, -2:].tolist() == [0, 4]


def test_refused(library):
    good = Case(1, 14, 14, 8, 7, 3, 2)
    address = HostBuffer(np.zeros(1 << 16, np.uint8)).address
    names = ("x", "index", "scale", "bias", "tokens", "update", "output", "workspace")
    lists = ("gather_norm", "scatter_add")
    bad = [
        *((kernel, replace(good, channels=2**40), {}) for kernel in KERNELS),
        *((kernel, good, {"element": 3}) for kernel in KERNELS),
        *((kernel, replace(good, shift=7), {}) for kernel in KERNELS),
        *((kernel, replace(good, window_size=0), {}) for kernel in KERNELS),
        *((kernel, replace(good, height=2**31), {}) for kernel in KERNELS),
        *((kernel, replace(good, keep=2**31), {}) for kernel in lists),
        *((kernel, good, {"index_bytes": 2}) for kernel in lists),
        *((kernel, good, {"count": -1}) for kernel in lists),
        *((kernel, replace(good, channels=0), {}) for kernel in ("gather_norm", "rank")),
        ("rank", replace(good, height=60, width=60, window_size=1, shift=0), {"workspace": address + 4}),
    ]
    for kernel, case, changes in bad:
        call = fused_call(case, **dict.fromkeys(names, address))
        for name, value in changes.items():
            setattr(call, name, value)
        assert launch_fused(library, kernel, call) == INVALID_VALUE, (kernel, case, changes)
