"""Attention within windows, run thread by thread on the host, against NumPy; tests/gpu runs the same cases on a GPU."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from attention_kernel import (
    ATTENTION_CASES,
    TOLERANCES,
    AttentionCase,
    bind_attention,
    check_attention,
    random_attention,
)
from gpu_kernels import INVALID_VALUE
from host_kernels import HostBuffer, host_kernels


@pytest.fixture(scope="module")
def library():
    return ctypes.CDLL(str(host_kernels()))


@pytest.mark.parametrize("case", ATTENTION_CASES, ids=lambda case: f"{case.element}-{case.window_size}x{case.head_dim}")
def test_every_case(library, case):
    check_attention(library, HostBuffer, case, seed=1)


def test_each_window_is_on_its_own(library):
    case = AttentionCase(2, 3, 4, 16, 7, "float16", kinds=4)
    inputs = random_attention(case, 2)
    whole = check_attention(library, HostBuffer, case, 2, given=inputs)
    rows = slice(case.tokens, 2 * case.tokens)
    part = {**inputs, "qkv": inputs["qkv"][1:, rows].copy(), "index": inputs["index"][1:, 1:2].copy()}
    alone = check_attention(library, HostBuffer, replace(case, batch=1, keep=1), 2, given=part)
    np.testing.assert_array_equal(whole[1:, rows], alone)


@pytest.mark.parametrize("element", ["float32", "float16"])
def test_ids_and_kinds_that_do_not_exist_count_as_0(library, element):
    case = AttentionCase(1, 6, 1, 16, 2, element, kinds=3)
    inputs = random_attention(case, 3)
    inputs["index"] = np.array([[0, -1, 12, 2**40, 5, 6]], np.int64)
    inputs["kind"][:7] = 2, 1, 1, 1, 1, 3, -1
    check_attention(library, HostBuffer, case, 3, given=inputs)


@pytest.mark.parametrize("element", TOLERANCES)
@pytest.mark.parametrize("window_size", [7, 12, 9])
def test_scores_far_apart(library, element, window_size):
    """Masks of minus infinity and of a large number, whole pieces of keys of them too; and one key that is all."""
    case = AttentionCase(1, 1, 1, 32, window_size, element)
    inputs = random_attention(case, 4)
    bias = np.zeros((1, 1, case.tokens, case.tokens), np.float32)
    bias[..., ::2, : case.tokens // 2] = -np.inf
    bias[..., 1::2, case.tokens // 2 :] = -10000
    bias[..., 5, 7] = 30000
    inputs["position_bias"] = (bias.view(np.uint32) >> 16).astype(np.uint16) if element == "bfloat16" else bias
    if element == "float16":
        inputs["position_bias"] = bias.astype(np.float16)
    check_attention(library, HostBuffer, case, 4, given=inputs)


@pytest.mark.parametrize("head_dim", [16, 32, 64])
def test_rows_in_shared_memory_are_free_of_bank_conflicts(library, head_dim):
    """Eight vectors of 16 bytes that are accessed at once are on the 32 banks once each."""
    vectors = head_dim // 8
    place = np.array([[library.headRowPlace(head_dim, row, v) for v in range(vectors)] for row in range(64)])
    assert sorted(place.ravel()) == list(range(64 * vectors)), "each place is used once"
    columns = place.reshape(8, 8, vectors)  # eight rows of one vector, as matrices are read
    assert all(len(set(columns[i, :, v] % 8)) == 8 for i in range(8) for v in range(vectors))
    rows = place.reshape(-1, 8)  # eight vectors after another, as rows are written
    assert all(len(set(row % 8)) == 8 for row in rows)


@pytest.mark.parametrize("tokens", [1, 9, 25, 49, 81, 121])
def test_position_biases_in_shared_memory_have_room_wherever_they_begin(library, tokens):
    vectors = library.attentionBiasVectors(tokens)
    assert 16 * (vectors - 1) < 14 + 2 * tokens**2 <= 16 * vectors


@pytest.mark.parametrize("begin", range(8))
def test_at_most_two_words_of_a_bank_are_read_of_position_biases_at_once(begin):
    """Of 7x7 windows: eight rows of four lanes, an element each, wherever the biases begin."""
    words = {(begin + row * 49 + lane * 2) // 2 for row in range(8) for lane in range(4)}
    banks = [word % 32 for word in words]
    assert max(banks.count(bank) for bank in banks) <= 2


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": -1},
        {"count": -1},
        {"heads": 0},
        {"heads": 3},  # 64 channels
        {"channels": 0},
        {"channels": 1 << 40},
        {"window_size": 0},
        {"window_size": 5000},
        {"kinds": 0},
        {"windows": -1},
        {"element": 3},
        {"element": -1},
        {"index_bytes": 2},
        {"count": 1 << 45},
    ],
    ids=str,
)
def test_refused(library, changes):
    address = HostBuffer(np.zeros(4096, np.uint8)).address
    pointers = dict.fromkeys(("qkv", "qkv_bias", "index", "kind", "position_bias", "output"), address)
    call = AttentionCase(1, 1, 2, 32, 1).call(**pointers)
    for name, value in changes.items():
        setattr(call, name, value)
    assert bind_attention(library)(call) == INVALID_VALUE
