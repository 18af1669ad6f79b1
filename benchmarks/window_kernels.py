"""The kernels' C ABI (plugins/kernels/c_abi.h), their NumPy reference, and a check that holds on any memory.

The library runs on the GPU or, compiled by tests/host_kernels.py, on the host; the cases are the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

#: element name -> (code in the ABI, NumPy type that holds it); bfloat16 is held as its bits.
ELEMENTS = {"float32": (0, np.float32), "float16": (1, np.float16), "bfloat16": (2, np.uint16)}
POISON = 0xA5
GUARD = 512  # bytes before and after each tensor that nobody may touch


class Call(ctypes.Structure):
    """SparsevitCall."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "height", "width", "channels", "count")),
        *((name, ctypes.c_int32) for name in ("window_size", "shift", "element", "index_bytes")),
        *((name, ctypes.c_void_p) for name in ("x", "windows", "index", "output", "stream")),
    )


class Kernels:
    """The three launchers of a library."""

    def __init__(self, path: str | Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.sparsevit_error_text.restype = ctypes.c_char_p

    def launch(self, kernel: str, call: Call) -> int:
        """Returns the CUDA error."""
        return int(getattr(self.library, f"sparsevit_window_{kernel}")(ctypes.byref(call)))

    def error_text(self, error: int) -> str:
        text: bytes = self.library.sparsevit_error_text(error)
        return text.decode()


class Buffer(Protocol):
    """Memory the kernels can reach."""

    address: int

    def read(self) -> np.ndarray: ...  # uint8, after the kernels are done


@dataclass(frozen=True)
class Case:
    """One call. `offset`: elements by which tensors start behind a 256-byte boundary, to break alignment."""

    batch: int
    height: int
    width: int
    channels: int
    window_size: int
    shift: int
    keep: int
    element: str = "float32"
    index: type = np.int64
    offset: int = 0

    @property
    def windows(self) -> int:
        return -(-self.height // self.window_size) * -(-self.width // self.window_size)

    @property
    def tokens(self) -> int:
        return self.window_size**2

    def call(self, **pointers: int) -> Call:
        return Call(
            batch=self.batch,
            height=self.height,
            width=self.width,
            channels=self.channels,
            count=self.keep,
            window_size=self.window_size,
            shift=self.shift,
            element=ELEMENTS[self.element][0],
            index_bytes=np.dtype(self.index).itemsize,
            **pointers,
        )


def _sizes() -> list[Case]:
    shapes = [
        (1, 14, 21, 96, 7),
        (2, 13, 10, 8, 7),  # padded both ways
        (3, 3, 5, 32, 7),  # one window, larger than the map
        (2, 9, 6, 5, 4),  # 2-byte vectors in half precision
        (1, 8, 12, 6, 4),  # 4-byte vectors
        (1, 10, 9, 4, 7),  # 8-byte vectors
        (2, 1, 1, 1, 1),
        (1, 7, 15, 776, 7),
        (1, 5, 26, 24, 12),
    ]
    cases = []
    for i, (batch, height, width, channels, window_size) in enumerate(shapes):
        for shift in {0, window_size // 2}:
            case = Case(batch, height, width, channels, window_size, shift, 0)
            for element in ELEMENTS:
                for keep in sorted({0, 1, case.windows // 2, case.windows}):
                    cases.append(replace(case, keep=keep, element=element, index=(np.int64, np.int32)[i % 2]))
    return cases


#: Every element type at odd sizes, shifted and not, from no window to all of them.
CASES = _sizes()
#: Tensors that are aligned to their element only, and those whose other index type was not met above.
UNALIGNED = [
    Case(2, 13, 10, 8, 7, 3, 2, element, index, offset)
    for element in ELEMENTS
    for index in (np.int32, np.int64)
    for offset in (0, 1, 2, 4)
]


def address_table(case: Case) -> np.ndarray:
    """(nW, T) address of each token, height * width for padding; by padding, rolling and tiling."""
    rows, columns = -(-case.height // case.window_size), -(-case.width // case.window_size)
    padded = np.full((rows * case.window_size, columns * case.window_size), case.height * case.width)
    padded[: case.height, : case.width] = np.arange(case.height * case.width).reshape(case.height, case.width)
    rolled = np.roll(padded, (-case.shift, -case.shift), (0, 1))
    tiles = rolled.reshape(rows, case.window_size, columns, case.window_size).transpose(0, 2, 1, 3)
    return tiles.reshape(rows * columns, case.tokens)


def as_float(array: np.ndarray, element: str) -> np.ndarray:
    if element == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def random_tensor(random: np.random.Generator, shape: tuple[int, ...], element: str) -> np.ndarray:
    return as_element(random.standard_normal(shape, np.float32), element)


def as_element(values: np.ndarray, element: str) -> np.ndarray:
    """float32 values as that type holds them; bfloat16 by cutting bits off."""
    if element == "bfloat16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(ELEMENTS[element][1])


def random_inputs(case: Case, seed: int) -> dict[str, np.ndarray]:
    """x (B, H, W, C), windows (B, k, T, C), index (B, k)."""
    random = np.random.default_rng(seed)
    order = [random.permutation(case.windows)[: case.keep] for _ in range(case.batch)]
    return {
        "x": random_tensor(random, (case.batch, case.height, case.width, case.channels), case.element),
        "windows": random_tensor(random, (case.batch, case.keep, case.tokens, case.channels), case.element),
        "index": np.array(order, case.index).reshape(case.batch, case.keep),
    }


def expected(kernel: str, case: Case, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What the kernel must leave in its output; scores in float64."""
    table = address_table(case)
    x = inputs["x"].reshape(case.batch, -1, case.channels)
    if kernel == "score":
        magnitude = np.abs(as_float(x, case.element)).astype(np.float64).mean(-1)
        magnitude = np.concatenate([magnitude, np.zeros((case.batch, 1))], 1)
        return np.sqrt((magnitude[:, table] ** 2).sum(-1))
    padded = np.concatenate([x, np.zeros((case.batch, 1, case.channels), x.dtype)], 1)
    sample = np.arange(case.batch)[:, None, None]
    addresses = table[inputs["index"]]  # (B, k, T)
    if kernel == "gather":
        return padded[sample, addresses]
    padded[sample, addresses] = inputs["windows"]
    return padded[:, :-1].reshape(inputs["x"].shape)


def framed(array: np.ndarray, offset: int) -> np.ndarray:
    """The array's bytes between two guards, displaced by `offset` bytes."""
    whole = np.full(GUARD + offset + array.nbytes + GUARD, POISON, np.uint8)
    whole[GUARD + offset : GUARD + offset + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
    return whole


def unframed(whole: np.ndarray, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """What `framed` was given, or what has been written over it; raises AssertionError where a guard was touched."""
    end = len(whole) - GUARD
    assert (whole[: GUARD + offset] == POISON).all(), "written before the tensor"
    assert (whole[end:] == POISON).all(), "written past the tensor"
    return whole[GUARD + offset : end].view(dtype).reshape(shape)


def poisoned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An output nobody has written: NaN in float16 and bfloat16 alike would hide in a bit comparison, a pattern not."""
    return np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, POISON, np.uint8).view(dtype).reshape(shape)


def check(
    kernels: Kernels,
    make_buffer: Callable[[np.ndarray], Buffer],
    kernel: str,
    case: Case,
    seed: int,
    in_place: bool = False,
    stream: int = 0,
) -> None:
    """Runs one kernel on fresh random inputs into a poisoned output and compares all of it.

    Args:
        make_buffer: uint8 array -> Buffer with these bytes, its address on a 256-byte boundary.
        in_place: scatter writes into x.
    """
    inputs = random_inputs(case, seed)
    offset = case.offset * np.dtype(ELEMENTS[case.element][1]).itemsize
    offsets = {"x": offset, "windows": offset, "index": 0}
    buffers = {name: make_buffer(framed(inputs[name], offsets[name])) for name in inputs}
    target = expected(kernel, case, inputs)
    dtype = np.dtype(np.float32) if kernel == "score" else inputs["x"].dtype
    output_offset = 0 if kernel == "score" else offset
    if in_place:
        output = buffers["x"]
    else:
        output = make_buffer(framed(poisoned(target.shape, dtype), output_offset))
    addresses = {name: buffer.address + GUARD + offsets[name] for name, buffer in buffers.items()}
    call = case.call(**addresses, output=output.address + GUARD + output_offset, stream=stream)
    error = kernels.launch(kernel, call)
    what = f"{kernel} {case} seed {seed}"
    assert error == 0, f"{what}: {kernels.error_text(error)}"
    actual = unframed(output.read(), output_offset, target.shape, dtype)
    if kernel == "score":
        np.testing.assert_allclose(actual, target, rtol=1e-5, err_msg=what)
    else:
        bits = np.dtype(f"u{dtype.itemsize}")
        np.testing.assert_array_equal(actual.view(bits), target.view(bits), err_msg=what)
    for name, buffer in buffers.items():
        if buffer is not output:
            unchanged = unframed(buffer.read(), offsets[name], inputs[name].shape, inputs[name].dtype)
            assert unchanged.tobytes() == inputs[name].tobytes(), f"{what}: {name} was written to"
