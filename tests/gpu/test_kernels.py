"""Each kernel on the GPU against NumPy: bit by bit but for the score, poisoned outputs, guarded memory.

Inputs are random and fresh in every run; the report's header has the seed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpu_kernels import INVALID_VALUE, DeviceBuffer
from window_kernels import CASES, ELEMENTS, UNALIGNED, Case, check, expected, poisoned, random_inputs

torch = pytest.importorskip("torch")

#: Maps as large as those of the network at 672x672 and 1024x2048, and one of a size that divides by nothing.
LARGE = [
    Case(1, 168, 168, 96, 7, 3, 230),
    Case(4, 168, 168, 96, 7, 0, 576),
    Case(1, 256, 512, 96, 7, 3, 1100),
    Case(2, 42, 42, 384, 7, 3, 14),
    Case(1, 42, 42, 384, 7, 3, 36, index=np.int32),
    Case(1, 64, 128, 384, 7, 0, 0),
    Case(3, 101, 67, 40, 7, 3, 77),
    Case(70000, 1, 1, 1, 1, 0, 1, index=np.int32),
]


@pytest.mark.parametrize("kernel", ["score", "gather", "scatter"])
def test_every_case(kernels, seed, kernel):
    for number, case in enumerate(CASES + UNALIGNED):
        if kernel != "score" or case.keep == 0 or case.offset:
            check(kernels, DeviceBuffer, kernel, case, seed + number)


def test_scatter_in_place(kernels, seed):
    for number, case in enumerate(CASES + UNALIGNED):
        check(kernels, DeviceBuffer, "scatter", case, seed + number, in_place=True)


@pytest.mark.parametrize("kernel", ["score", "gather", "scatter"])
@pytest.mark.parametrize("element", list(ELEMENTS))
@pytest.mark.parametrize("case", LARGE, ids=lambda c: f"{c.batch}x{c.height}x{c.width}x{c.channels}-{c.keep}")
def test_large(kernels, seed, kernel, element, case):
    check(kernels, DeviceBuffer, kernel, replace(case, element=element), seed)


@pytest.mark.parametrize("kernel", ["score", "gather", "scatter"])
def test_on_a_stream(kernels, seed, kernel):
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    check(kernels, DeviceBuffer, kernel, Case(2, 13, 10, 96, 7, 3, 2), seed, stream=stream.cuda_stream)


@pytest.mark.parametrize("kernel", ["score", "gather", "scatter"])
@pytest.mark.parametrize("element", list(ELEMENTS))
def test_replays_from_a_graph(kernels, seed, kernel, element):
    """Captured once, replayed on fresh inputs and poisoned outputs: nothing in a launch depends on the host."""
    case = Case(2, 42, 37, 96, 7, 3, 11, element)
    first = random_inputs(case, seed)
    shape = expected(kernel, case, first).shape
    dtype = np.dtype(np.float32) if kernel == "score" else first["x"].dtype
    nothing = poisoned(shape, dtype).view(np.uint8).reshape(-1)
    buffers = {name: DeviceBuffer(array.view(np.uint8).reshape(-1)) for name, array in first.items()}
    output = DeviceBuffer(nothing)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        stream = torch.cuda.current_stream().cuda_stream
        addresses = {name: buffer.address for name, buffer in buffers.items()}
        error = kernels.launch(kernel, case.call(**addresses, output=output.address, stream=stream))
    assert error == 0, kernels.error_text(error)
    for number in range(1, 4):
        inputs = random_inputs(case, seed + number)
        for name, array in inputs.items():
            buffers[name].tensor.copy_(torch.from_numpy(array.view(np.uint8).reshape(-1)))
        output.tensor.copy_(torch.from_numpy(nothing))
        graph.replay()
        actual, target = output.read().view(dtype).reshape(shape), expected(kernel, case, inputs)
        if kernel == "score":
            np.testing.assert_allclose(actual, target, rtol=1e-5)
        else:
            assert actual.tobytes() == target.tobytes()


def test_scores_are_the_same_on_every_run(kernels, seed):
    case = Case(2, 42, 42, 384, 7, 3, 0, "float16")
    x = DeviceBuffer(random_inputs(case, seed)["x"].view(np.uint8).reshape(-1))
    runs = []
    for _ in range(5):
        scores = DeviceBuffer(np.zeros(case.batch * case.windows * 4, np.uint8))
        assert kernels.launch("score", case.call(x=x.address, output=scores.address)) == 0
        runs.append(scores.read().tobytes())
    assert len(set(runs)) == 1


def test_refused_calls_leave_the_device_usable(kernels, seed):
    case = Case(1, 14, 14, 8, 7, 3, 2)
    buffer = DeviceBuffer(np.zeros(1 << 16, np.uint8))
    call = case.call(x=buffer.address + 1, index=buffer.address, output=buffer.address)
    assert kernels.launch("gather", call) == INVALID_VALUE
    assert kernels.error_text(INVALID_VALUE)
    check(kernels, DeviceBuffer, "gather", case, seed)
