"""The library for CUDA seen from outside: symbols, dependencies, what it says of itself, and what without a GPU."""

from __future__ import annotations

import re

import onnxruntime
import pytest

from gpu_kernels import missing_gpu
from host_kernels import ARCHITECTURES

from ..conftest import run

pytestmark = pytest.mark.slow  # nvcc compiles the library first

#: Libraries of the C runtime, and nothing of ONNX Runtime, CUDA or the C++ runtime.
ALLOWED = re.compile(r"lib(c|m|dl|rt|pthread)\.so\.\d+|ld-linux.*")


def test_only_the_entry_points_are_visible(ort_library):
    symbols = [line.split()[-1] for line in run("nm", "-D", "--defined-only", ort_library).stdout.splitlines()]
    assert sorted(symbols) == ["RegisterCustomOps", "sparsevit_letterbox", "sparsevit_stretch"]


def test_depends_on_the_c_library_alone(ort_library):
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-d", ort_library).stdout)
    assert needed and all(ALLOWED.fullmatch(name) for name in needed), needed


def test_says_what_it_was_built_for_and_what_it_has(ort_library):
    stamps = re.findall(
        rb"sparsevit-ort api=18 cudart=\d+ architectures=([\w,-]+) nodes=([\w,]+);", ort_library.read_bytes()
    )
    assert len(stamps) == 1
    assert stamps[0][0] == ARCHITECTURES.encode() and b"WindowScatter" in stamps[0][1].split(b",")


@pytest.mark.skipif(missing_gpu() is None, reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told(ort_library):
    options = onnxruntime.SessionOptions()
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="libsparsevit_ort runs on CUDA: .+; "):
        options.register_custom_ops_library(str(ort_library))
