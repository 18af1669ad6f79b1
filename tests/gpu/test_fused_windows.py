"""WindowGatherNorm, WindowScatterAdd and WindowRank on the GPU against NumPy, into poisoned outputs between guards.

Inputs are random and fresh in every run; the report's header has the seed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fused_kernels import FUSED_CASES, KERNELS, check_fused, crowded, fused_call, launch_fused, random_fused
from gpu_kernels import DeviceBuffer
from window_kernels import ELEMENTS, Case

torch = pytest.importorskip("torch")

#: Maps of the network at 672x672, 1024x2048 and of a 4K frame, more samples than a grid has rows, odd channels.
LARGE = [
    Case(1, 168, 168, 96, 7, 3, 230),
    Case(4, 168, 168, 96, 7, 0, 576),
    Case(1, 256, 512, 96, 7, 3, 1100),
    Case(2, 42, 42, 384, 7, 3, 14),
    Case(1, 21, 21, 768, 7, 0, 4, index=np.int32),
    Case(1, 24, 24, 1536, 12, 6, 3),
    Case(3, 101, 67, 97, 7, 3, 77),
    Case(1, 540, 960, 8, 7, 3, 4000),
    Case(70000, 1, 1, 1, 1, 0, 1, index=np.int32),
]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("element", list(ELEMENTS))
def test_every_case(kernels, seed, kernel, element):
    for number, case in enumerate(FUSED_CASES[kernel]):
        if case.element == element:
            check_fused(kernels.library, DeviceBuffer, kernel, case, seed + number)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("element", list(ELEMENTS))
@pytest.mark.parametrize("case", LARGE, ids=lambda c: f"{c.batch}x{c.height}x{c.width}x{c.channels}-{c.keep}")
def test_large(kernels, seed, kernel, element, case):
    check_fused(kernels.library, DeviceBuffer, kernel, replace(case, element=element), seed)


@pytest.mark.parametrize("element", list(ELEMENTS))
def test_scatter_in_place(kernels, seed, element):
    for number, case in enumerate([*FUSED_CASES["scatter_add"], *LARGE]):
        if number % 3 == 0:
            case = replace(case, element=element)
            check_fused(kernels.library, DeviceBuffer, "scatter_add", case, seed + number, in_place=True)


@pytest.mark.parametrize("case", [Case(2, 168, 168, 4, 7, 3, 0), Case(2, 540, 960, 1, 7, 0, 0)], ids=["576", "10764"])
def test_ranks_of_equal_windows(kernels, seed, case):
    check_fused(kernels.library, DeviceBuffer, "rank", case, seed, given=crowded(case, seed))


@pytest.mark.parametrize("kernel", KERNELS)
def test_replays_from_a_graph(kernels, seed, kernel):
    """Captured once and replayed, it answers what a launch does."""
    case = Case(2, 42, 37, 96, 7, 3, 11, "float16")
    inputs = random_fused(kernel, case, seed)
    wanted = check_fused(kernels.library, DeviceBuffer, kernel, case, seed, given=inputs)
    buffers = {name: DeviceBuffer(array.view(np.uint8).reshape(-1)) for name, array in inputs.items()}
    for name, array in wanted.items():
        buffers[name] = DeviceBuffer(np.zeros(array.nbytes, np.uint8))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        stream = torch.cuda.current_stream().cuda_stream
        addresses = {name: buffer.address for name, buffer in buffers.items()}
        error = launch_fused(kernels.library, kernel, fused_call(case, **addresses, stream=stream))
    assert error == 0, kernels.error_text(error)
    for _ in range(2):
        buffers["output"].tensor.fill_(0xA5)
        graph.replay()
        assert buffers["output"].read().tobytes() == wanted["output"].tobytes()
