"""AddNorm, FeatureMapNorm and PatchMergeNorm, run thread by thread on the host, against NumPy and portable bodies.

tests/gpu runs the same cases on a GPU.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from gpu_kernels import INVALID_VALUE
from host_kernels import HostBuffer, host_kernels
from norm_kernels import EPSILON, KERNELS, NORM_CASES, NormCase, check_norm, launch_norm, random_norm
from single_nodes import TYPES, open_model, whole_model
from sparsevit_exporter.nodes import DOMAIN
from window_kernels import ELEMENTS, as_float

#: Kernel -> its node, and what that answers.
NODES = {
    "add_norm": ("AddNorm", ("sum", "output")),
    "feature_map_norm": ("FeatureMapNorm", ("output",)),
    "patch_merge_norm": ("PatchMergeNorm", ("output",)),
}


@pytest.fixture(scope="module")
def library():
    return ctypes.CDLL(str(host_kernels()))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("element", ELEMENTS)
def test_every_case(library, kernel, element):
    for seed, case in enumerate(NORM_CASES[kernel]):
        if case.element == element:
            check_norm(library, HostBuffer, kernel, case, seed)


def test_sum_in_place(library):
    for seed, case in enumerate(NORM_CASES["add_norm"]):
        check_norm(library, HostBuffer, "add_norm", case, seed, in_place=True)


def test_a_norm_of_large_values_has_their_variance(library):
    """Two passes: the difference of squares would lose it."""
    for channels in (96, 97):
        case = NormCase(1, 2, 2, channels)
        inputs = random_norm("add_norm", case, 3)
        inputs["x"] = np.round(inputs["x"] * 64) / np.float32(64) + np.float32(4096)
        inputs["update"][:] = inputs["bias"][:] = 0
        inputs["scale"] *= np.float32(0.01)  # the mean has 12 bits behind its point
        check_norm(library, HostBuffer, "add_norm", case, 3, given=inputs)


def test_a_row_that_is_no_number_leaves_the_others_alone(library):
    case = NormCase(1, 1, 9, 24, "float16")
    inputs = random_norm("add_norm", case, 4)
    clean = check_norm(library, HostBuffer, "add_norm", case, 4, given=inputs)["output"]
    inputs["x"][0, 0, 4, 3] = np.nan
    buffers = {name: HostBuffer(array.view(np.uint8).reshape(-1)) for name, array in inputs.items()}
    buffers |= {name: HostBuffer(np.zeros(clean.nbytes, np.uint8)) for name in ("sum", "output")}
    call = case.call(**{name: buffer.address for name, buffer in buffers.items()})
    assert launch_norm(library, "add_norm", call) == 0
    found = buffers["output"].read().view(np.float16).reshape(clean.shape)
    assert np.isnan(found[0, 0, 4]).all()
    np.testing.assert_array_equal(np.delete(found, 4, 2), np.delete(clean, 4, 2))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("element", ["float32", "float16"])
def test_portable_bodies_answer_what_the_kernels_do(library, kernel, element):
    """Their sums to the last bit: on the CPU half precision is added in float32, too."""
    kind, outputs = NODES[kernel]
    for case in (NormCase(2, 5, 3, 40, element), NormCase(1, 4, 6, 7, element)):
        inputs = random_norm(kernel, case, 5)
        written = check_norm(library, HostBuffer, kernel, case, 5, given=inputs)
        sizes = {"height": case.height, "width": case.width} if kernel == "patch_merge_norm" else {}
        node = helper.make_node(kind, [*inputs], [*outputs], domain=DOMAIN, epsilon=EPSILON, **sizes)
        given = [helper.make_tensor_value_info(name, TYPES[element], a.shape) for name, a in inputs.items()]
        made = [helper.make_tensor_value_info(name, TYPES[element], None) for name in outputs]
        found = open_model(whole_model(helper.make_graph([node], "node", given, made))).run(None, inputs)
        for name, answer in zip(outputs, found, strict=True):
            tolerance = 0 if name == "sum" else 1e-5 if element == "float32" else 2e-3
            wanted = as_float(written[name], element)
            np.testing.assert_allclose(np.float32(answer), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": -1},
        {"batch": 1 << 40},
        {"height": 0},
        {"width": 1 << 40},
        {"channels": 0},
        {"channels": 1 << 40},
        {"element": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("kernel", KERNELS)
def test_refused(library, kernel, changes):
    address = HostBuffer(np.zeros(1 << 12, np.uint8)).address
    names = ("x", "update", "bias", "scale", "shift", "sum", "output")
    call = NormCase(1, 2, 2, 8).call(**dict.fromkeys(names, address))
    for name, value in changes.items():
        setattr(call, name, value)
    assert launch_norm(library, kernel, call) == INVALID_VALUE


def test_tiles_of_maps_lie_in_different_banks_and_fit(library):
    """The words that a warp reads at once: of as many tokens as a tile has, as many neighbours as make 32 of them."""
    stride = ctypes.c_int32()
    seen = set()
    for words in (*range(1, 700), 1000, 1495, 1496, 1497, 1536, 3000):
        for most in (1, 3000, 7056, 1 << 20):
            tokens = library.mapTileOf(ctypes.c_int64(words), ctypes.c_int64(most), ctypes.byref(stride))
            seen.add(tokens)
            if tokens == 0:
                assert words > 1496
                continue
            assert stride.value >= words and 4 * tokens * stride.value + 32 * 8 <= 48 << 10  # with the moments
            neighbours = range(32 // tokens)
            banks = {(token * stride.value + word) % 32 for token in range(tokens) for word in neighbours}
            assert len(banks) == 32
    assert seen == {0, 8, 16, 32}


def test_a_type_that_is_neither_float_nor_the_map_s_is_refused(library):
    address = HostBuffer(np.zeros(1 << 12, np.uint8)).address
    pointers = dict.fromkeys(("x", "scale", "shift", "output"), address)
    for element, output in (("float32", "float16"), ("float16", "bfloat16")):
        call = NormCase(1, 2, 2, 8, element, output=output).call(**pointers)
        assert launch_norm(library, "feature_map_norm", call) == INVALID_VALUE


def test_nothing_to_do(library):
    """No address is looked at."""
    for kernel in KERNELS:
        assert launch_norm(library, kernel, replace(NormCase(1, 2, 2, 8), batch=0).call()) == 0
