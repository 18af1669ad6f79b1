"""PatchEmbed and LabelDecode, run thread by thread on the host, against NumPy; tests/gpu has them on a GPU."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from ends_kernels import (
    DECODE_CASES,
    EMBED_CASES,
    DecodeCase,
    EmbedCase,
    check_decode,
    check_embed,
    launch_decode,
    launch_embed,
    random_embed,
)
from gpu_kernels import INVALID_VALUE
from host_kernels import HostBuffer, host_kernels


@pytest.fixture(scope="module")
def library():
    return ctypes.CDLL(str(host_kernels()))


@pytest.mark.parametrize(
    "case", EMBED_CASES, ids=lambda case: f"{case.element}-{case.height}x{case.width}x{case.channels}"
)
def test_every_embedding(library, case):
    check_embed(library, HostBuffer, case, seed=1)


@pytest.mark.parametrize("element", ["float16", "bfloat16"])
@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_weights_of_any_size(library, element, size):
    """Half precision holds neither of them, and tensor cores have nothing wider than that."""
    case = EmbedCase(1, 8, 12, 96, 8, element)
    inputs = random_embed(case, 5)
    inputs["weight"] *= np.float32(size)
    inputs["bias"] *= np.float32(size)
    check_embed(library, HostBuffer, case, 5, given=inputs)


@pytest.mark.parametrize("case", DECODE_CASES, ids=lambda case: f"{case.element}-{case.classes}-{case.scale}")
def test_every_decoding(library, case):
    check_decode(library, HostBuffer, case, seed=1)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_of_equal_scores_the_lower_class_is_the_label(library, scale):
    case = DecodeCase(1, 6, 4, 5, scale)
    logits = np.zeros((1, 6, 4, 5), np.float32)
    assert not check_decode(library, HostBuffer, case, 0, given=logits).any()
    logits[:, 2:] = 1
    assert (check_decode(library, HostBuffer, case, 0, given=logits) == 2).all()


@pytest.mark.parametrize("scale", [1, 4, 5])
def test_a_score_that_is_no_number_is_never_the_highest(library, scale):
    case = DecodeCase(1, 3, 4, 5, scale)
    logits = np.zeros((1, 3, 4, 5), np.float32)
    logits[:, 1], logits[:, 2] = np.nan, 1
    buffers = [HostBuffer(array.view(np.uint8).reshape(-1)) for array in (logits, np.zeros(20 * scale**2, np.uint8))]
    call = case.call(logits=buffers[0].address, output=buffers[1].address)
    assert launch_decode(library, call) == 0
    assert (buffers[1].read() == 2).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": -1},
        {"height": 0},
        {"width": 1 << 40},
        {"pad_multiple": 6},
        {"pad_multiple": 0},
        {"channels": 0},
        {"element": 3},
        {"batch": 1 << 40},
    ],
    ids=str,
)
def test_refused_embeddings(library, changes):
    address = HostBuffer(np.zeros(1 << 12, np.uint8)).address
    names = ("image", "weight", "bias", "mean", "scale", "shift", "output")
    call = EmbedCase(1, 8, 8, 4).call(**dict.fromkeys(names, address))
    for name, value in changes.items():
        setattr(call, name, value)
    assert launch_embed(library, call) == INVALID_VALUE


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": -1},
        {"classes": 0},
        {"classes": 257},
        {"rows": 0},
        {"columns": 1 << 40},
        {"height": 17},  # of 4 rows
        {"width": 0},
        {"scale": 0},
        {"element": -1},
        {"batch": 1 << 40},
    ],
    ids=str,
)
def test_refused_decodings(library, changes):
    address = HostBuffer(np.zeros(1 << 12, np.uint8)).address
    call = DecodeCase(1, 3, 4, 4, 4).call(logits=address, output=address)
    for name, value in changes.items():
        setattr(call, name, value)
    assert launch_decode(library, call) == INVALID_VALUE
