"""The C ABI of the WindowAttention kernel (plugins/kernels/c_abi.h), its NumPy reference, a check on any memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from window_kernels import ELEMENTS, GUARD, Buffer, as_element, as_float, framed, poisoned, random_tensor, unframed

#: Of outputs of size 1: sums in float, probabilities and outputs rounded to the element type.
TOLERANCES = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 2e-2}
#: What the kernel reads, as named in its call.
INPUTS = ("qkv", "qkv_bias", "index", "kind", "position_bias")


class AttentionCall(ctypes.Structure):
    """SparsevitAttentionCall."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "count", "channels", "windows", "kinds")),
        *((name, ctypes.c_int32) for name in ("heads", "window_size", "element", "index_bytes")),
        *((name, ctypes.c_void_p) for name in (*INPUTS, "output", "stream")),
    )


class Launch(Protocol):
    """The attention on some memory; returns the CUDA error."""

    def __call__(self, call: AttentionCall) -> int: ...


@dataclass(frozen=True)
class AttentionCase:
    """One call. `offset`: elements by which tensors start behind a 256-byte boundary, to break alignment."""

    batch: int
    keep: int
    heads: int
    head_dim: int
    window_size: int
    element: str = "float32"
    index: type = np.int64
    kinds: int = 1
    windows: int = 12
    offset: int = 0

    @property
    def channels(self) -> int:
        return self.heads * self.head_dim

    @property
    def tokens(self) -> int:
        return self.window_size**2

    @property
    def output_shape(self) -> tuple[int, int, int]:
        return self.batch, self.keep * self.tokens, self.channels

    def call(self, **pointers: int) -> AttentionCall:
        return AttentionCall(
            batch=self.batch,
            count=self.keep,
            channels=self.channels,
            windows=self.windows,
            kinds=self.kinds,
            heads=self.heads,
            window_size=self.window_size,
            element=ELEMENTS[self.element][0],
            index_bytes=np.dtype(self.index).itemsize,
            **pointers,
        )


def _cases() -> list[AttentionCase]:
    cases = []
    for element in ELEMENTS:
        for window_size in (7, 8, 12):
            cases.append(AttentionCase(1, 2, 2, 32, window_size, element, kinds=3))
        cases += [
            AttentionCase(2, 2, 3, 16, 7, element, np.int32, kinds=2),
            AttentionCase(1, 1, 2, 64, 7, element),
            AttentionCase(1, 1, 1, 64, 12, element),
            AttentionCase(1, 2, 3, 16, 8, element),
            AttentionCase(1, 2, 2, 32, 1, element),  # each token looks at itself
            AttentionCase(2, 1, 2, 32, 4, element),
            AttentionCase(1, 1, 1, 16, 9, element, np.int32),  # of pieces of 64 keys, the second partly filled
            AttentionCase(1, 1, 1, 32, 16, element),  # of four whole pieces
            AttentionCase(1, 1, 2, 5, 7, element),  # vectors fit nowhere
            AttentionCase(1, 2, 1, 24, 3, element),
            AttentionCase(1, 1, 1, 72, 9, element),  # two groups of the output's channels
            AttentionCase(1, 1, 2, 32, 7, element, offset=1),
            AttentionCase(0, 3, 2, 32, 7, element),
            AttentionCase(3, 0, 2, 32, 7, element),
        ]
    return cases


#: Each element type at the sizes with a kernel of their own and at others; several kinds; nothing at all.
ATTENTION_CASES = _cases()


def bind_attention(library: ctypes.CDLL) -> Launch:
    """The library's attention."""
    function = library.sparsevit_window_attention
    function.argtypes, function.restype = (ctypes.POINTER(AttentionCall),), ctypes.c_int32

    def launch(call: AttentionCall) -> int:
        return int(function(ctypes.byref(call)))

    return launch


def random_attention(case: AttentionCase, seed: int) -> dict[str, np.ndarray]:
    """What the kernel reads, by its names: scores of a few units, and position biases that matter."""
    random = np.random.default_rng(seed)
    order = [random.permutation(case.windows)[: case.keep] for _ in range(case.batch)]
    scale = np.repeat(np.float32([case.head_dim**-0.5, 1, 1]), case.channels)
    qkv = random.standard_normal((case.batch, case.keep * case.tokens, 3 * case.channels), np.float32)
    return {
        "qkv": as_element(qkv * scale, case.element),
        "qkv_bias": as_element(random.standard_normal(3 * case.channels, np.float32) * scale, case.element),
        "index": np.array(order, case.index).reshape(case.batch, case.keep),
        "kind": random.integers(0, case.kinds, case.windows, np.int32),
        "position_bias": random_tensor(random, (case.kinds, case.heads, case.tokens, case.tokens), case.element),
    }


def rounded(values: np.ndarray, element: str) -> np.ndarray:
    """float32 values to the nearest that the type holds, ties to even; as float32."""
    if element == "bfloat16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    return values.astype(ELEMENTS[element][1]).astype(np.float32)


def expected_attention(case: AttentionCase, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """output (B, k * t, C) in float64, of q, k and v rounded to the element type as a tensor of them would be."""
    qkv = rounded(as_float(inputs["qkv"], case.element) + as_float(inputs["qkv_bias"], case.element), case.element)
    shape = (case.batch, case.keep, case.tokens, 3, case.heads, case.head_dim)
    q, k, v = qkv.astype(np.float64).reshape(shape).transpose(3, 0, 1, 4, 2, 5)  # (B, k, heads, t, D) each
    index = inputs["index"]
    exists = (index >= 0) & (index < case.windows)
    kind = np.where(exists, inputs["kind"][np.where(exists, index, 0)], 0)
    kind = np.where((kind >= 0) & (kind < case.kinds), kind, 0)
    scores = q @ k.swapaxes(-1, -2) + as_float(inputs["position_bias"], case.element)[kind]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ v).transpose(0, 1, 3, 2, 4).reshape(case.output_shape)


def check_attention(
    library: ctypes.CDLL,
    make_buffer: Callable[[np.ndarray], Buffer],
    case: AttentionCase,
    seed: int,
    stream: int = 0,
    given: dict[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Runs the kernel on random inputs, or those that are `given`, into a poisoned output and compares all of it.

    Args:
        make_buffer: uint8 array -> Buffer with these bytes, its address on a 256-byte boundary.

    Returns:
        output (B, k * t, C) as floats.
    """
    inputs = random_attention(case, seed) if given is None else given
    dtype = np.dtype(ELEMENTS[case.element][1])
    offsets = dict.fromkeys((*INPUTS, "output"), case.offset * dtype.itemsize) | {"index": 0, "kind": 0}
    buffers = {name: make_buffer(framed(array, offsets[name])) for name, array in inputs.items()}
    buffers["output"] = make_buffer(framed(poisoned(case.output_shape, dtype), offsets["output"]))
    addresses = {name: buffer.address + GUARD + offsets[name] for name, buffer in buffers.items()}
    error = bind_attention(library)(case.call(**addresses, stream=stream))
    what = f"{case} seed {seed}"
    assert error == 0, f"{what}: error {error}"
    bits = unframed(buffers["output"].read(), offsets["output"], case.output_shape, dtype)
    actual, tolerance = as_float(bits, case.element), TOLERANCES[case.element]
    target = expected_attention(case, inputs)
    np.testing.assert_allclose(actual, target, rtol=tolerance, atol=tolerance, err_msg=what)
    for name, array in inputs.items():
        unchanged = unframed(buffers[name].read(), offsets[name], array.shape, array.dtype)
        assert unchanged.tobytes() == array.tobytes(), f"{what}: {name} was written to"
    return actual
