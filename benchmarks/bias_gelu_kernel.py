"""BiasGelu against NumPy, on memory of any kind."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from window_kernels import ELEMENTS, as_element, as_float

#: Largest difference, of values up to about 6: half the distance of two numbers of the element.
TOLERANCES = {"float32": 1e-6, "float16": 2.5e-3, "bfloat16": 2e-2}
#: Rows, channels and element: vectors, rows that are none, one number, none at all.
GELU_CASES = [
    *((rows, channels, element) for element in ELEMENTS for rows, channels in ((37, 64), (5, 33), (1, 1), (0, 8))),
    (600, 384, "float16"),
]


class BiasGeluCall(ctypes.Structure):
    _fields_ = (
        ("rows", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("element", ctypes.c_int32),
        ("bias", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
    )


def launch_gelu(library: ctypes.CDLL, call: BiasGeluCall) -> int:
    library.sparsevit_bias_gelu.argtypes = [ctypes.POINTER(BiasGeluCall)]
    return int(library.sparsevit_bias_gelu(ctypes.byref(call)))


def check_gelu(
    library: ctypes.CDLL, make_buffer: Callable[[np.ndarray], Any], rows: int, channels: int, element: str, seed: int
) -> None:
    """One run.

    Raises:
        AssertionError: it is wrong, or wrote past the end.
    """
    number = ELEMENTS[element][0]
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows + 1, channels)) * 2  # a row behind the last is nobody's
    biases = random.normal(size=channels)
    cells = [as_element(np.float32(array), element) for array in (values, biases)]
    y, bias = (make_buffer(array.view(np.uint8).reshape(-1)) for array in cells)
    error = launch_gelu(library, BiasGeluCall(rows, channels, number, bias.address, y.address))
    assert error == 0, error
    found = y.read().view(cells[0].dtype).reshape(values.shape)
    np.testing.assert_array_equal(found[rows], cells[0][rows])
    x = np.float64(as_float(cells[0], element)[:rows]) + np.float64(as_float(cells[1], element))
    wanted = 0.5 * x * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))
    np.testing.assert_allclose(as_float(found, element)[:rows], wanted, rtol=TOLERANCES[element], atol=1e-6)
