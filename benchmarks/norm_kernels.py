"""The C ABI of AddNorm, FeatureMapNorm and PatchMergeNorm (plugins/kernels/c_abi.h), their NumPy references, and a
check that holds on any memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from window_kernels import ELEMENTS, GUARD, Buffer, as_element, as_float, framed, poisoned, random_tensor, unframed

#: Of values of a few units: statistics in float, answers rounded to the element type.
TOLERANCES = {"float32": 4e-5, "float16": 1e-3, "bfloat16": 8e-3}
EPSILON = 1e-5
KERNELS = ("add_norm", "feature_map_norm", "patch_merge_norm")
_READS = dict.fromkeys(KERNELS[1:], ("x", "scale", "shift"))
_READS["add_norm"] = ("x", "update", "bias", "scale", "shift")


class NormCall(ctypes.Structure):
    """SparsevitNormCall."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "height", "width", "channels")),
        *((name, ctypes.c_int32) for name in ("element", "output_element")),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("x", "update", "bias", "scale", "shift", "sum", "output", "stream")),
    )


@dataclass(frozen=True)
class NormCase:
    """One call over (batch, height, width, channels). `offset`: elements by which tensors start behind a 256-byte
    boundary, to break alignment; `output`: type of what it answers, where that is another."""

    batch: int
    height: int
    width: int
    channels: int
    element: str = "float32"
    offset: int = 0
    output: str = ""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.height, self.width, self.channels

    def call(self, **pointers: int) -> NormCall:
        return NormCall(
            batch=self.batch,
            height=self.height,
            width=self.width,
            channels=self.channels,
            element=ELEMENTS[self.element][0],
            output_element=ELEMENTS[self.output or self.element][0],
            epsilon=EPSILON,
            **pointers,
        )


#: Rows of as many vectors of 16 bytes as each of the norm's registers have, of more than they hold, and of elements.
NORM_CASES = {
    "add_norm": [
        *(
            NormCase(*shape, element)
            for element in ELEMENTS
            for shape in (
                *((2, 3, 5, channels) for channels in (1, 5, 8, 40, 96, 128, 192, 384)),
                *((1, 1, 3, channels) for channels in (768, 1536, 3088)),
                (1, 37, 7, 24),
                (0, 2, 2, 8),
            )
        ),
        *(NormCase(1, 2, 3, 40, element, offset) for element in ELEMENTS for offset in (1, 2, 4)),
    ],
    # Tiles of all sizes, cut off or not, more tokens than one has, channels that fit in none and of odd addresses.
    "feature_map_norm": [
        *(
            NormCase(*shape, element, output=output)
            for element in ELEMENTS
            for output in ("", "float32")
            for shape in (
                (2, 3, 5, 6),
                (1, 4, 8, 96),
                (1, 5, 7, 33),
                (3, 1, 1, 1),
                (1, 3, 3, 770),
                (1, 1, 9, 3080),
                (0, 2, 2, 8),
            )
        ),
        *(NormCase(2, 3, 3, 24, element, offset) for element in ELEMENTS for offset in (1, 2)),
        NormCase(1, 66, 67, 6, "float16"),
        NormCase(1, 91, 91, 2, "float16"),
    ],
    # Even and odd sides, in the same channels of four tokens.
    "patch_merge_norm": [
        *(
            NormCase(*shape, element)
            for element in ELEMENTS
            for shape in (
                *((2, 4, 6, channels) for channels in (1, 3, 8, 24, 32, 48)),
                *((1, 2, 3, channels) for channels in (96, 192, 384, 776)),
                (2, 5, 7, 8),
                (1, 1, 1, 24),
                (1, 3, 2, 10),
                (0, 2, 2, 8),
            )
        ),
        *(NormCase(1, 3, 4, 40, element, offset) for element in ELEMENTS for offset in (1, 2, 4)),
    ],
}


def launch_norm(library: ctypes.CDLL, kernel: str, call: NormCall) -> int:
    """Returns the CUDA error."""
    return int(getattr(library, f"sparsevit_{kernel}")(ctypes.byref(call)))


def random_norm(kernel: str, case: NormCase, seed: int) -> dict[str, np.ndarray]:
    """What the kernel reads, by its names; rows of unequal means."""
    random = np.random.default_rng(seed)
    normed = (4 if kernel == "patch_merge_norm" else 1) * case.channels
    means = random.standard_normal((*case.shape[:-1], 1), np.float32)
    inputs = {
        "x": as_element(random.standard_normal(case.shape, np.float32) * 2 + means, case.element),
        "update": random_tensor(random, case.shape, case.element),
        "bias": random_tensor(random, (case.channels,), case.element),
        "scale": random_tensor(random, (normed,), case.element),
        "shift": random_tensor(random, (normed,), case.element),
    }
    return {name: inputs[name] for name in _READS[kernel]}


def expected_norm(kernel: str, case: NormCase, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the kernel must leave in each output: bits of the sum, else float64."""
    x, scale, shift = (as_float(inputs[name], case.element) for name in ("x", "scale", "shift"))
    if kernel == "feature_map_norm":
        return {"output": np.moveaxis(layer_norm(x) * scale + shift, 3, 1)}
    if kernel == "patch_merge_norm":
        return {"output": layer_norm(merged(x)) * scale + shift}
    update, bias = (as_float(inputs[name], case.element) for name in ("update", "bias"))
    total = rounded(x + (update + bias), case.element)
    return {"sum": total, "output": layer_norm(as_float(total, case.element)) * scale + shift}


def merged(x: np.ndarray) -> np.ndarray:
    """(B, H, W, C) -> (B, R, Q, 4C): patches of 2x2 tokens, row by row, zeros beyond the map."""
    padded = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
    return np.concatenate([padded[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)


def layer_norm(values: np.ndarray) -> np.ndarray:
    """Over the last axis, without scale and shift, in float64."""
    deviation = values.astype(np.float64) - values.astype(np.float64).mean(-1, keepdims=True)
    return deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + EPSILON)


def rounded(values: np.ndarray, element: str) -> np.ndarray:
    """float32 values as that type holds them, to nearest, ties to even."""
    if element != "bfloat16":
        return values.astype(ELEMENTS[element][1])
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def check_norm(
    library: ctypes.CDLL,
    make_buffer: Callable[[np.ndarray], Buffer],
    kernel: str,
    case: NormCase,
    seed: int,
    in_place: bool = False,
    stream: int = 0,
    given: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Runs a kernel of `KERNELS` on random inputs, or those that are `given`, into poisoned outputs, compares all.

    Args:
        make_buffer: uint8 array -> Buffer with these bytes, its address on a 256-byte boundary.
        in_place: the sum is written into x.

    Returns:
        What it wrote, as it lies in memory.
    """
    inputs = random_norm(kernel, case, seed) if given is None else given
    target = expected_norm(kernel, case, inputs)
    dtype = np.dtype(ELEMENTS[case.element][1])
    offset = case.offset * dtype.itemsize
    buffers = {name: make_buffer(framed(array, offset)) for name, array in inputs.items()}
    answered = {name: case.output or case.element if name == "output" else case.element for name in target}
    types = {name: np.dtype(ELEMENTS[element][1]) for name, element in answered.items()}
    for name, array in target.items():
        is_x = in_place and name == "sum"
        buffers[name] = buffers["x"] if is_x else make_buffer(framed(poisoned(array.shape, types[name]), offset))
    addresses = {name: buffer.address + GUARD + offset for name, buffer in buffers.items()}
    error = launch_norm(library, kernel, case.call(**addresses, stream=stream))
    what = f"{kernel} {case} seed {seed}"
    assert error == 0, f"{what}: error {error}"
    written = {}
    for name, array in target.items():
        written[name] = unframed(buffers[name].read(), offset, array.shape, types[name])
        if name == "sum":
            bits = np.dtype(f"u{dtype.itemsize}")
            np.testing.assert_array_equal(written[name].view(bits), array.view(bits), err_msg=f"{what}: {name}")
        else:
            values, tolerance = as_float(written[name], answered[name]), TOLERANCES[answered[name]]
            np.testing.assert_allclose(values, array, rtol=tolerance, atol=tolerance, err_msg=f"{what}: {name}")
    for name, array in inputs.items():
        if not (in_place and name == "x"):
            unchanged = unframed(buffers[name].read(), offset, array.shape, dtype)
            assert unchanged.tobytes() == array.tobytes(), f"{what}: {name} was written to"
    return written
