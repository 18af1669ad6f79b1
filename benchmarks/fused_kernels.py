"""The C ABI of WindowGatherNorm, WindowScatterAdd and WindowRank (plugins/kernels/c_abi.h), their NumPy references, and
checks that hold on any memory. Their cases are those of `window_kernels`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from window_kernels import (
    CASES,
    ELEMENTS,
    GUARD,
    UNALIGNED,
    Buffer,
    Case,
    address_table,
    as_element,
    as_float,
    expected,
    framed,
    poisoned,
    random_tensor,
    unframed,
)

#: Of values of a few units: sums in float, answers rounded to the element type.
TOLERANCES = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}
EPSILON = 1e-5
KERNELS = ("gather_norm", "scatter_add", "rank")
#: What each reads, and what it writes.
_READS = {"gather_norm": ("x", "index", "scale", "bias"), "rank": ("x",)}
_READS["scatter_add"] = ("x", "index", "tokens", "update", "bias")
_WRITES = {"gather_norm": ("tokens", "output"), "scatter_add": ("output",), "rank": ("output", "workspace")}


class FusedCall(ctypes.Structure):
    """SparsevitFusedCall."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "height", "width", "channels", "count")),
        *((name, ctypes.c_int32) for name in ("window_size", "shift", "element", "index_bytes")),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("x", "index", "scale", "bias", "tokens", "update", "output")),
        *((name, ctypes.c_void_p) for name in ("workspace", "stream")),
    )


#: Channels with as many vectors of 16 bytes as each of the LayerNorm's registers have, and more than they hold.
_WIDE = [
    Case(1, 3, 4, channels, 3, 1, 2, element)
    for element in ELEMENTS
    for channels in (8, 40, 128, 192, 384, 768, 1536, 3088)
]
FUSED_CASES = {
    "gather_norm": [*CASES, *UNALIGNED, *_WIDE],
    "scatter_add": [*CASES, *UNALIGNED],
    "rank": [*[case for case in CASES if case.keep == 0][::5], UNALIGNED[1]],
}


def fused_call(case: Case, **pointers: int) -> FusedCall:
    return FusedCall(
        batch=case.batch,
        height=case.height,
        width=case.width,
        channels=case.channels,
        count=case.keep,
        window_size=case.window_size,
        shift=case.shift,
        element=ELEMENTS[case.element][0],
        index_bytes=np.dtype(case.index).itemsize,
        epsilon=EPSILON,
        **pointers,
    )


def launch_fused(library: ctypes.CDLL, kernel: str, call: FusedCall) -> int:
    """Returns the CUDA error."""
    return int(getattr(library, f"sparsevit_window_{kernel}")(ctypes.byref(call)))


def rank_workspace(library: ctypes.CDLL, case: Case) -> int:
    """Bytes that ranking the case's windows takes beside its output."""
    function = library.sparsevit_window_rank_workspace
    function.restype = ctypes.c_int64
    return int(function(ctypes.byref(fused_call(case))))


def random_fused(kernel: str, case: Case, seed: int) -> dict[str, np.ndarray]:
    """What the kernel reads, by its names."""
    random = np.random.default_rng(seed)
    order = [random.permutation(case.windows)[: case.keep] for _ in range(case.batch)]
    tokens = (case.batch, case.keep * case.tokens, case.channels)
    x = random.standard_normal((case.batch, case.height, case.width, case.channels), np.float32)
    inputs = {
        # Tokens of unequal means.
        "x": as_element(x * 2 + random.standard_normal((*x.shape[:-1], 1), np.float32), case.element),
        "index": np.array(order, case.index).reshape(case.batch, case.keep),
        "scale": random_tensor(random, (case.channels,), case.element),
        "bias": random_tensor(random, (case.channels,), case.element),
        "tokens": random_tensor(random, tokens, case.element),
        "update": random_tensor(random, tokens, case.element),
    }
    return {name: inputs[name] for name in _READS[kernel]}


def expected_fused(kernel: str, case: Case, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the kernel must leave in each output: bits where it copies, else float64."""
    if kernel == "gather_norm":
        tokens = expected("gather", case, inputs).reshape(case.batch, -1, case.channels)
        values = as_float(tokens, case.element).astype(np.float64)
        deviation = values - values.mean(-1, keepdims=True)
        normed = deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + EPSILON)
        scale, bias = (as_float(inputs[name], case.element) for name in ("scale", "bias"))
        return {"tokens": tokens, "output": normed * scale + bias}
    if kernel == "scatter_add":
        sums = sum(as_float(inputs[name], case.element).astype(np.float64) for name in ("tokens", "update", "bias"))
        x = as_float(inputs["x"], case.element).reshape(case.batch, -1, case.channels).astype(np.float64)
        padded = np.concatenate([x, np.zeros((case.batch, 1, case.channels))], 1)
        addresses = address_table(case)[inputs["index"]]
        sample = np.arange(case.batch)[:, None, None]
        padded[sample, addresses] = np.reshape(sums, (*addresses.shape, case.channels))
        return {"output": padded[:, :-1].reshape(inputs["x"].shape)}
    return {"output": falling(expected("score", case, inputs))}


def falling(scores: np.ndarray) -> np.ndarray:
    """Ids (B, nW) int32 by falling score: of equal ones the lower first, what is no number last."""
    return np.argsort(-scores, axis=-1, kind="stable").astype(np.int32)


def _scored(library: ctypes.CDLL, make_buffer: Callable[[np.ndarray], Buffer], case: Case, x: int) -> np.ndarray:
    """Scores (B, nW) of the library's own WindowScore: the rank's are to be the same, to the last bit."""
    output = make_buffer(np.zeros(case.batch * case.windows * 4, np.uint8))
    error = library.sparsevit_window_score(ctypes.byref(case.call(x=x, output=output.address)))
    assert error == 0, f"{case}: error {error}"
    return output.read().view(np.float32).reshape(case.batch, case.windows)


def check_fused(
    library: ctypes.CDLL,
    make_buffer: Callable[[np.ndarray], Buffer],
    kernel: str,
    case: Case,
    seed: int,
    in_place: bool = False,
    stream: int = 0,
    given: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Runs a kernel of `KERNELS` on random inputs, or those that are `given`, into poisoned outputs, compares all.

    Args:
        make_buffer: uint8 array -> Buffer with these bytes, its address on a 256-byte boundary.
        in_place: the scatter writes into x.

    Returns:
        What it wrote, as it lies in memory.
    """
    inputs = random_fused(kernel, case, seed) if given is None else given
    target = expected_fused(kernel, case, inputs)
    dtype = np.dtype(ELEMENTS[case.element][1])
    shapes = {name: (array.shape, np.dtype(np.int32) if kernel == "rank" else dtype) for name, array in target.items()}
    if kernel == "rank":
        shapes["workspace"] = ((rank_workspace(library, case),), np.dtype(np.uint8))
    offset = case.offset * dtype.itemsize
    offsets = dict.fromkeys((*inputs, *shapes), offset) | {"index": 0}
    if kernel == "rank":
        offsets |= {"output": 0, "workspace": 0}
    buffers = {name: make_buffer(framed(array, offsets[name])) for name, array in inputs.items()}
    for name, (shape, kind) in shapes.items():
        is_x = in_place and name == "output"
        buffers[name] = buffers["x"] if is_x else make_buffer(framed(poisoned(shape, kind), offsets[name]))
    addresses = {name: buffer.address + GUARD + offsets[name] for name, buffer in buffers.items()}
    error = launch_fused(library, kernel, fused_call(case, **addresses, stream=stream))
    what = f"{kernel} {case} seed {seed}"
    assert error == 0, f"{what}: error {error}"
    if kernel == "rank":
        target = {"output": falling(_scored(library, make_buffer, case, addresses["x"]))}
    written = {}
    for name, (shape, kind) in shapes.items():
        written[name] = unframed(buffers[name].read(), offsets[name], shape, kind)
        if name in target:
            _compare(written[name], target[name], case.element, f"{what}: {name}")
    for name, array in inputs.items():
        if not (in_place and name == "x"):
            unchanged = unframed(buffers[name].read(), offsets[name], array.shape, array.dtype)
            assert unchanged.tobytes() == array.tobytes(), f"{what}: {name} was written to"
    return written


def _compare(actual: np.ndarray, target: np.ndarray, element: str, what: str) -> None:
    """Bits of what was copied or sorted, values of what was counted."""
    if target.dtype == actual.dtype:
        bits = np.dtype(f"u{actual.dtype.itemsize}")
        np.testing.assert_array_equal(actual.view(bits), target.view(bits), err_msg=what)
    else:
        tolerance = TOLERANCES[element]
        np.testing.assert_allclose(as_float(actual, element), target, rtol=tolerance, atol=tolerance, err_msg=what)


def crowded(case: Case, seed: int) -> dict[str, np.ndarray]:
    """A map for the rank with many windows of equal scores, in float32: whole windows of few values."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 3, (case.batch, case.windows)).astype(np.float32)
    flat = np.zeros((case.batch, case.height * case.width + 1, case.channels), np.float32)
    flat[:, address_table(case)] = values[:, :, None, None]
    return {"x": flat[:, :-1].reshape(case.batch, case.height, case.width, case.channels)}
