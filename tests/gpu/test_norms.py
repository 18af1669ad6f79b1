"""AddNorm, FeatureMapNorm and PatchMergeNorm on the GPU against NumPy, into poisoned outputs between guards.

Inputs are random and fresh in every run; the report's header has the seed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpu_kernels import DeviceBuffer
from norm_kernels import KERNELS, NORM_CASES, NormCase, check_norm, launch_norm, random_norm
from window_kernels import ELEMENTS

torch = pytest.importorskip("torch")

#: Maps of the network at 672x672 and 1024x2048, kept windows of its deep stages, samples beyond a grid's second side,
#: odd channels, as many as shared memory holds in each type, and more than registers do.
LARGE = [
    NormCase(1, 168, 168, 96),
    NormCase(2, 256, 512, 96),
    NormCase(1, 14, 49, 384),
    NormCase(1, 4, 49, 768),
    NormCase(3, 101, 67, 97),
    NormCase(70000, 1, 1, 8),
    NormCase(1, 9, 11, 1496),
    NormCase(1, 9, 11, 2992),
    NormCase(1, 9, 11, 4100),
]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("element", list(ELEMENTS))
def test_every_case(kernels, seed, kernel, element):
    for number, case in enumerate(NORM_CASES[kernel]):
        if case.element == element:
            check_norm(kernels.library, DeviceBuffer, kernel, case, seed + number)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("element", list(ELEMENTS))
@pytest.mark.parametrize("case", LARGE, ids=lambda c: "x".join(map(str, c.shape)))
def test_large(kernels, seed, kernel, element, case):
    check_norm(kernels.library, DeviceBuffer, kernel, replace(case, element=element), seed)


@pytest.mark.parametrize("element", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", LARGE, ids=lambda c: "x".join(map(str, c.shape)))
def test_large_maps_in_float(kernels, seed, element, case):
    case = replace(case, element=element, output="float32")
    check_norm(kernels.library, DeviceBuffer, "feature_map_norm", case, seed)


@pytest.mark.parametrize("element", list(ELEMENTS))
def test_sum_in_place(kernels, seed, element):
    for number, case in enumerate([*NORM_CASES["add_norm"], *LARGE]):
        if number % 3 == 0:
            case = replace(case, element=element)
            check_norm(kernels.library, DeviceBuffer, "add_norm", case, seed + number, in_place=True)


@pytest.mark.parametrize("kernel", KERNELS)
def test_replays_from_a_graph(kernels, seed, kernel):
    """Captured once and replayed, it answers what a launch does."""
    case = NormCase(2, 14, 49, 96, "float16")
    inputs = random_norm(kernel, case, seed)
    wanted = check_norm(kernels.library, DeviceBuffer, kernel, case, seed, given=inputs)
    buffers = {name: DeviceBuffer(array.view(np.uint8).reshape(-1)) for name, array in inputs.items()}
    for name, array in wanted.items():
        buffers[name] = DeviceBuffer(np.zeros(array.nbytes, np.uint8))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        stream = torch.cuda.current_stream().cuda_stream
        addresses = {name: buffer.address for name, buffer in buffers.items()}
        error = launch_norm(kernels.library, kernel, case.call(**addresses, stream=stream))
    assert error == 0, kernels.error_text(error)
    for _ in range(2):
        buffers["output"].tensor.fill_(0xA5)
        graph.replay()
        assert buffers["output"].read().tobytes() == wanted["output"].tobytes()
