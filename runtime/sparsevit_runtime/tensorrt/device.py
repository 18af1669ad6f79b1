"""The GPU an engine is built for, asked of the driver itself: no CUDA package is needed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_DRIVER = "libcuda.so.1"
_INTEGRATED, _MAJOR, _MINOR = 18, 75, 76  # CUdevice_attribute
_MIB = 1 << 20
#: Of the free memory; the rest is for the weights, the activations and whoever else uses the device.
_WORKSPACE_SHARE = 0.5
_SMALLEST_WORKSPACE = 256 * _MIB
#: For an engine that is built where no GPU says how much there is.
_WORKSPACE_WITHOUT_GPU = 1024 * _MIB


@dataclass(frozen=True)
class Gpu:
    """The first GPU.

    Attributes:
        name: name as the driver says.
        compute_capability: such as ``8.7``.
        integrated: True for one that shares the memory of the host, as on a Jetson.
        free_bytes: memory free now.
    """

    name: str
    compute_capability: str
    integrated: bool
    free_bytes: int


def find_gpu(driver: str = _DRIVER) -> Gpu | None:
    """The first GPU, or None where there is no driver, no GPU, or none that answers.

    Args:
        driver: the driver's library.
    """
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return None
    device, context = ctypes.c_int(), ctypes.c_void_p()
    name = ctypes.create_string_buffer(256)
    free, total = ctypes.c_size_t(), ctypes.c_size_t()

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        return value.value if cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device) == 0 else 0

    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0) or cuda.cuDeviceGetName(name, len(name), device):
        return None
    if cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    try:
        if cuda.cuCtxPushCurrent_v2(context):
            return None
        failed = cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    finally:
        cuda.cuDevicePrimaryCtxRelease_v2(device)
    if failed:
        return None
    integrated = bool(attribute(_INTEGRATED))
    capability = f"{attribute(_MAJOR)}.{attribute(_MINOR)}"
    # The driver of a shared memory does not count what the system would give back from its file cache.
    usable = max(free.value, _available_system_bytes()) if integrated else free.value
    return Gpu(name.value.decode(errors="replace"), capability, integrated, usable)


def workspace_bytes(gpu: Gpu | None) -> int:
    """Scratch memory that TensorRT may plan with: a share of what is free, or a fixed size without a GPU."""
    if gpu is None:
        return _WORKSPACE_WITHOUT_GPU
    return max(_SMALLEST_WORKSPACE, int(gpu.free_bytes * _WORKSPACE_SHARE) // _MIB * _MIB)


def _available_system_bytes() -> int:
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
