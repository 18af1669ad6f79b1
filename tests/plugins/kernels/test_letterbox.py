"""The letterbox kernel, run thread by thread on the host, against cv2; tests/gpu runs the same cases on a GPU."""

from __future__ import annotations

import ctypes
import secrets
import subprocess

import numpy as np
import pytest

from gpu_kernels import INVALID_VALUE
from host_kernels import PLUGINS, HostBuffer, host_kernels
from letterbox_kernel import LETTERBOX_CASES, LetterboxCase, bind_letterbox, check_letterbox, random_letterbox_cases


@pytest.fixture(scope="module")
def letterbox():
    return bind_letterbox(ctypes.CDLL(str(host_kernels())))


@pytest.mark.parametrize(
    "case", LETTERBOX_CASES, ids=lambda c: f"{c.frame_wh}-{c.input_hw}{'-stretched' * c.stretched}"
)
def test_every_case(letterbox, case):
    check_letterbox(letterbox, HostBuffer, case, seed=0)


def test_any_size(letterbox):
    seed = secrets.randbits(32)
    for number, case in enumerate(random_letterbox_cases(60, seed)):
        check_letterbox(letterbox, HostBuffer, case, seed + number)


def test_plain_c(tmp_path):
    """The header stands alone in C."""
    program = tmp_path / "user.c"
    program.write_text('#include "kernels/letterbox/letterbox.h"\nint size = sizeof(SparsevitLetterbox);\n')
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{PLUGINS}", "-c", str(program)]
    subprocess.run([*command, "-o", str(tmp_path / "user.o")], check=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"frame": None},
        {"input": None},
        {"frame_pitch": 59},
        {"frame_width": 0},
        {"frame_height": -1},
        {"width": 0},
        {"height": 0},
        {"left": -1},
        {"left": 1},
        {"top": 9},
        {"width": 17},
        {"sample": -1},
        {"pad_value": 256},
    ],
    ids=str,
)
def test_refused(letterbox, changes):
    frame, target = (HostBuffer(np.zeros(4096, np.uint8)).address for _ in range(2))
    call = LetterboxCase((20, 10), (16, 16)).call(frame, target)
    for name, value in changes.items():
        setattr(call, name, value)
    assert letterbox(call) == INVALID_VALUE


@pytest.mark.parametrize("changes", [{}, {"frame": None}, {"top": 0, "height": 15}, {"top": 0, "width": 15}], ids=str)
def test_a_stretch_fills_the_input(letterbox, changes):
    """What would leave a border is refused."""
    frame, target = (HostBuffer(np.zeros(4096, np.uint8)).address for _ in range(2))
    call = LetterboxCase((20, 10), (16, 16)).call(frame, target)
    for name, value in changes.items():
        setattr(call, name, value)
    assert letterbox(call, stretched=True) == INVALID_VALUE
