"""Attention within windows on the GPU against NumPy, into poisoned outputs between guards.

Inputs are random and fresh in every run; the report's header has the seed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attention_kernel import (
    ATTENTION_CASES,
    TOLERANCES,
    AttentionCase,
    bind_attention,
    check_attention,
    expected_attention,
    random_attention,
)
from gpu_kernels import DeviceBuffer
from window_kernels import ELEMENTS, as_float

torch = pytest.importorskip("torch")

#: Stages of a Swin-T at 672x672 and 1024x2048, windows of 12, and sizes that have no kernel of their own.
LARGE = [
    AttentionCase(1, 230, 3, 32, 7, kinds=9, windows=576),
    AttentionCase(4, 14, 12, 32, 7, kinds=9, windows=36, index=np.int32),
    AttentionCase(1, 1100, 3, 32, 7, kinds=9, windows=2738),
    AttentionCase(2, 4, 24, 32, 7, windows=9),
    AttentionCase(1, 100, 4, 32, 12, kinds=9, windows=196),
    AttentionCase(1, 50, 2, 64, 12, kinds=9, windows=196),
    AttentionCase(2, 60, 6, 16, 8, kinds=9, windows=441),
    AttentionCase(1, 20, 3, 64, 8, windows=49),
    AttentionCase(1, 9, 4, 32, 14, kinds=4, windows=144),
    AttentionCase(1, 3, 2, 64, 32, windows=9),
    AttentionCase(2, 11, 3, 40, 7, windows=30),
    AttentionCase(1, 5, 2, 160, 10, windows=30),
]


@pytest.mark.parametrize("number", range(len(ATTENTION_CASES)))
def test_every_case(kernels, seed, number):
    check_attention(kernels.library, DeviceBuffer, ATTENTION_CASES[number], seed + number)


@pytest.mark.parametrize("element", list(ELEMENTS))
@pytest.mark.parametrize("case", LARGE, ids=lambda c: f"{c.batch}x{c.keep}-{c.window_size}x{c.heads}x{c.head_dim}")
def test_large(kernels, seed, case, element):
    check_attention(kernels.library, DeviceBuffer, replace(case, element=element), seed)


@pytest.mark.parametrize("element", list(ELEMENTS))
@pytest.mark.parametrize("window_size", [7, 8, 12, 5])
def test_replays_from_a_graph(kernels, seed, element, window_size):
    """Captured once, replayed on fresh inputs and poisoned outputs: nothing in a launch depends on the host."""
    case = AttentionCase(2, 11, 3, 64, window_size, element, kinds=3)
    first = random_attention(case, seed)
    buffers = {name: DeviceBuffer(array.view(np.uint8).reshape(-1)) for name, array in first.items()}
    dtype = np.dtype(ELEMENTS[element][1])
    output = DeviceBuffer(np.zeros(int(np.prod(case.output_shape)) * dtype.itemsize, np.uint8))
    launch = bind_attention(kernels.library)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        stream = torch.cuda.current_stream().cuda_stream
        addresses = {name: buffer.address for name, buffer in buffers.items()}
        error = launch(case.call(**addresses, output=output.address, stream=stream))
    assert error == 0, kernels.error_text(error)
    for number in range(1, 4):
        inputs = random_attention(case, seed + number)
        for name, array in inputs.items():
            buffers[name].tensor.copy_(torch.from_numpy(array.view(np.uint8).reshape(-1)))
        output.tensor.fill_(0xA5)
        graph.replay()
        actual = as_float(output.read().view(dtype).reshape(case.output_shape), element)
        tolerance = TOLERANCES[element]
        np.testing.assert_allclose(actual, expected_attention(case, inputs), rtol=tolerance, atol=tolerance)
