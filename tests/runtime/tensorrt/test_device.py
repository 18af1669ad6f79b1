"""The driver's answers, given by a small library with the driver's C interface."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from sparsevit_runtime.tensorrt.device import Gpu, find_gpu, workspace_bytes

DRIVER = """
#include <stddef.h>
#include <string.h>
static int pushed = 0;
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGet(int* device, int ordinal) { *device = 3; return ordinal != 0; }
int cuDeviceGetName(char* name, int length, int device) { strncpy(name, "Orin", length); return device != 3; }
int cuDeviceGetAttribute(int* value, int attribute, int device)
{
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? INTEGRATED : -1;
    return device != 3;
}
int cuDevicePrimaryCtxRetain(void** context, int device) { *context = &pushed; return device != 3; }
int cuDevicePrimaryCtxRelease_v2(int device) { return device != 3; }
int cuCtxPushCurrent_v2(void* context) { pushed = context == &pushed; return !pushed; }
int cuCtxPopCurrent_v2(void** context) { *context = &pushed; pushed = 0; return 0; }
int cuMemGetInfo_v2(size_t* free_bytes, size_t* total)
{
    *free_bytes = (size_t)6 << 30;
    *total = (size_t)8 << 30;
    return !pushed;
}
"""


@pytest.fixture
def driver(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for a stand-in of the driver")

    def make(init: int = 0, integrated: int = 0) -> str:
        source, library = tmp_path / "driver.c", tmp_path / f"driver{init}{integrated}.so"
        source.write_text(DRIVER)
        defines = [f"-DINIT={init}", f"-DINTEGRATED={integrated}"]
        subprocess.run([compiler, "-shared", "-fPIC", *defines, source, "-o", library], check=True)
        return str(library)

    return make


def test_a_gpu_is_described(driver):
    assert find_gpu(driver()) == Gpu("Orin", "8.7", False, 6 << 30)


def test_a_shared_memory_counts_what_the_system_can_give_back(driver):
    gpu = find_gpu(driver(integrated=1))
    assert gpu.integrated and gpu.free_bytes >= 6 << 30


def test_no_driver_or_none_that_starts(driver):
    assert find_gpu("libno-such-driver.so.1") is None
    assert find_gpu(driver(init=100)) is None


@pytest.mark.parametrize(
    ("free", "expected"), [(8 << 30, 4 << 30), ((1 << 30) + 3, 512 << 20), (100 << 20, 256 << 20), (0, 256 << 20)]
)
def test_half_of_the_free_memory_is_workspace(free, expected):
    assert workspace_bytes(Gpu("any", "8.7", False, free)) == expected


def test_without_a_gpu_the_workspace_is_fixed():
    assert workspace_bytes(None) == 1 << 30
