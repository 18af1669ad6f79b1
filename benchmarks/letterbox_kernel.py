"""The C ABI of plugins/kernels/letterbox/letterbox.h and its check against `Placement.apply`, on any memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sparsevit_runtime.cuda import DeviceView
from sparsevit_runtime.images.device_frames import DeviceFrame
from sparsevit_runtime.images.letterbox import Letterbox
from sparsevit_runtime.images.placement import Placement
from sparsevit_runtime.images.stretch import Stretch
from sparsevit_runtime.tensorrt.letterbox_kernel import LetterboxCall, letterbox_call
from window_kernels import POISON, Buffer


class Launch(Protocol):
    """A letterbox on some memory; returns the CUDA error."""

    def __call__(self, call: LetterboxCall, stream: int | None = None, *, stretched: bool = False) -> int: ...


@dataclass(frozen=True)
class LetterboxCase:
    """One call. `gap`: bytes between rows; `offset`: bytes before the input; `batch`: its last sample is written;
    `stretched`: over the whole input."""

    frame_wh: tuple[int, int]
    input_hw: tuple[int, int]
    gap: int = 0
    offset: int = 0
    batch: int = 1
    pad_value: int = 114
    stretched: bool = False

    @property
    def placement(self) -> Placement:
        return (Stretch if self.stretched else Letterbox)(self.frame_wh, self.input_hw)

    def call(self, frame: int, target: int) -> LetterboxCall:
        source = DeviceFrame(frame, 3 * self.frame_wh[0] + self.gap, self.frame_wh, None, None)
        return letterbox_call(source, self.placement, DeviceView(target, 0), self.batch - 1, self.pad_value)


#: Every way through the resizing: enlarged, equal, shrunk by less and more than 2, halved, by area, by whole means.
LETTERBOX_CASES = [
    LetterboxCase((1, 1), (1, 1)),
    LetterboxCase((1, 1), (9, 14)),
    LetterboxCase((5, 3), (40, 32)),  # enlarged
    LetterboxCase((37, 29), (64, 61), offset=1),
    LetterboxCase((32, 24), (24, 32)),  # equal
    LetterboxCase((64, 48), (64, 64)),
    LetterboxCase((200, 113), (128, 132), gap=5),  # shrunk by less than 2
    LetterboxCase((101, 67), (56, 57)),
    LetterboxCase((320, 180), (84, 84), batch=3),  # halved once, then bilinear
    LetterboxCase((384, 216), (64, 64), pad_value=0),  # halved twice and more
    LetterboxCase((2048, 1024), (32, 64)),
    LetterboxCase((640, 354), (64, 64), pad_value=255),  # halved, then by area
    LetterboxCase((333, 187), (64, 48), gap=1),  # by area alone
    LetterboxCase((501, 1), (60, 60)),
    LetterboxCase((3, 401), (32, 32)),
    LetterboxCase((135, 105), (35, 45)),  # by means of 3x3
    LetterboxCase((135, 210), (35, 45)),
    LetterboxCase((500, 375), (75, 100)),  # by means of 5x5
    *(
        LetterboxCase(frame_wh, input_hw, gap, offset, stretched=True)
        for frame_wh, input_hw, gap, offset in (
            ((1, 1), (1, 1), 0, 0),
            ((5, 3), (40, 32), 0, 0),  # enlarged
            ((37, 29), (61, 64), 2, 1),
            ((32, 24), (24, 32), 0, 0),  # equal
            ((96, 64), (32, 48), 0, 0),  # halved
            ((96, 64), (32, 40), 0, 0),
            ((200, 113), (128, 132), 5, 0),
            ((500, 375), (75, 100), 0, 0),  # shrunk by 5
            ((501, 7), (60, 61), 0, 0),
            ((384, 216), (56, 63), 0, 0),
        )
    ),
]


def random_letterbox_cases(count: int, seed: int, largest: int = 500) -> list[LetterboxCase]:
    """Frames and inputs of any size up to `largest` pixels a side."""
    random = np.random.default_rng(seed)

    def size(top: int) -> int:
        return int(np.exp(random.uniform(0, np.log(top))))

    def case() -> LetterboxCase:
        frame_wh, input_hw = (size(largest), size(largest)), (size(largest // 2), size(largest // 2))
        gap, offset, batch = (int(random.integers(bound)) for bound in (7, 4, 3))
        pad_value, stretched = int(random.integers(256)), bool(random.integers(2))
        return LetterboxCase(frame_wh, input_hw, gap, offset, batch + 1, pad_value, stretched)

    return [case() for _ in range(count)]


def bind_letterbox(library: ctypes.CDLL) -> Launch:
    """The library's letterbox and stretch."""
    functions = {False: library.sparsevit_letterbox, True: library.sparsevit_stretch}
    for function in functions.values():
        function.argtypes, function.restype = (ctypes.POINTER(LetterboxCall), ctypes.c_void_p), ctypes.c_int32

    def launch(call: LetterboxCall, stream: int | None = None, *, stretched: bool = False) -> int:
        return int(functions[stretched](ctypes.byref(call), stream))

    return launch


def check_letterbox(
    letterbox: Launch,
    make_buffer: Callable[[np.ndarray], Buffer],
    case: LetterboxCase,
    seed: int,
    stream: int | None = None,
) -> None:
    """Letterboxes a random frame into a poisoned batch and compares all of it, bit by bit.

    Args:
        letterbox: from `bind_letterbox`.
        make_buffer: uint8 array -> Buffer with these bytes, its address on a 256-byte boundary.
    """
    (width, height), (input_h, input_w) = case.frame_wh, case.input_hw
    random = np.random.default_rng(seed)
    rows = random.integers(0, 256, (height, 3 * width + case.gap), np.uint8)
    frame = np.ascontiguousarray(rows[:, : 3 * width]).reshape(height, width, 3)
    sample = input_h * input_w * 3
    nothing = np.full(case.offset + case.batch * sample + 64, POISON, np.uint8)
    expected = nothing.copy()
    end = case.offset + case.batch * sample
    case.placement.apply(frame, expected[end - sample : end].reshape(input_h, input_w, 3), case.pad_value)
    source, target = make_buffer(rows.reshape(-1)), make_buffer(nothing)
    call = case.call(source.address, target.address + case.offset)
    assert letterbox(call, stream, stretched=case.stretched) == 0, case
    np.testing.assert_array_equal(target.read(), expected, err_msg=str(case))
    assert source.read().tobytes() == rows.tobytes(), "the frame was written to"
