# ruff: noqa: E402 - the imports after the first need what a machine for the other kernels' tests may lack
"""The letterbox kernel on the GPU against OpenCV, bit by bit, into poisoned memory.

Frames are random and fresh in every run; the report's header has the seed.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for library in ("cv2", "pydantic"):
    pytest.importorskip(library, reason=f"the letterbox is compared with the runtime's, which needs {library}")

from gpu_kernels import INVALID_VALUE, DeviceBuffer
from letterbox_kernel import LETTERBOX_CASES, LetterboxCase, bind_letterbox, check_letterbox, random_letterbox_cases
from sparsevit_runtime.images.letterbox import Letterbox
from window_kernels import POISON, poisoned


@pytest.fixture(scope="module")
def letterbox(kernels):
    return bind_letterbox(kernels.library)


#: Camera frames into the inputs that models are exported for.
FRAMES = [
    LetterboxCase((1920, 1080), (672, 672)),
    LetterboxCase((3840, 2160), (672, 672), batch=2),
    LetterboxCase((1280, 720), (672, 672), gap=256),
    LetterboxCase((2048, 1024), (1024, 2048)),
    LetterboxCase((5001, 3333), (448, 673)),
    LetterboxCase((1920, 1080), (672, 672), stretched=True),
    LetterboxCase((3840, 2160), (672, 672), batch=2, stretched=True),
]


@pytest.mark.parametrize(
    "case", LETTERBOX_CASES + FRAMES, ids=lambda c: f"{c.frame_wh}-{c.input_hw}{'-stretched' * c.stretched}"
)
def test_letterbox(letterbox, seed, case):
    check_letterbox(letterbox, DeviceBuffer, case, seed)


def test_letterbox_of_any_size(letterbox, seed):
    for number, case in enumerate(random_letterbox_cases(200, seed, largest=1500)):
        check_letterbox(letterbox, DeviceBuffer, case, seed + number)


def test_letterbox_replays_from_a_graph(letterbox, seed):
    case = LetterboxCase((1280, 720), (672, 672), batch=2)
    size = case.batch * 672 * 672 * 3
    frame, target = DeviceBuffer(np.zeros(1280 * 720 * 3, np.uint8)), DeviceBuffer(poisoned((size,), np.uint8))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        error = letterbox(case.call(frame.address, target.address), torch.cuda.current_stream().cuda_stream)
    assert error == 0
    random = np.random.default_rng(seed)
    for _ in range(3):
        pixels = random.integers(0, 256, (720, 1280, 3), np.uint8)
        frame.tensor.copy_(torch.from_numpy(pixels.reshape(-1)))
        target.tensor.copy_(torch.from_numpy(poisoned((size,), np.uint8)))
        graph.replay()
        first, second = target.read().reshape(2, 672, 672, 3)
        assert (first == POISON).all()
        np.testing.assert_array_equal(second, Letterbox((1280, 720), (672, 672)).apply(pixels))


def test_refused_letterbox_leaves_the_device_usable(letterbox, seed):
    buffer = DeviceBuffer(np.zeros(4096, np.uint8))
    call = LetterboxCase((20, 10), (16, 16)).call(buffer.address, buffer.address)
    call.frame_pitch = 59
    assert letterbox(call) == INVALID_VALUE
    check_letterbox(letterbox, DeviceBuffer, LetterboxCase((20, 10), (16, 16)), seed)
