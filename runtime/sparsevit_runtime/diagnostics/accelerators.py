"""Which GPU, CUDA and TensorRT this machine has, found without loading them: loading TensorRT starts a CUDA context."""

from __future__ import annotations

import ctypes.util
import importlib.util
import re
import shutil
import subprocess

from .machine import installed_versions
from .proc import system_text

#: Python module of TensorRT, what to call it, and the distributions that bring it.
_TENSORRT = (
    ("tensorrt", "python module", ("tensorrt",)),
    ("tensorrt_rtx", "TensorRT for RTX", ("tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13")),
)


def find_nvidia_gpu() -> str | None:
    """Name, driver and memory of the first GPU that nvidia-smi lists; None without one. A Jetson's is not listed."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def find_cuda() -> str | None:
    """The CUDA toolkit's version, else the runtime library; None without both."""
    toolkit = re.search(r'"cuda"\s*:\s*{[^}]*"version"\s*:\s*"([^"]+)"', system_text("/usr/local/cuda/version.json"))
    if toolkit:
        return f"{toolkit[1]} in /usr/local/cuda"
    return ctypes.util.find_library("cudart")


def find_tensorrt() -> str | None:
    """TensorRT's Python modules and library, those that are here, TensorRT for RTX among them; None without any."""
    found = []
    for module, called, distributions in _TENSORRT:
        if importlib.util.find_spec(module) is not None:
            versions = installed_versions(distributions).values()
            found.append(" ".join([called, *versions]))
    library = ctypes.util.find_library("nvinfer")
    return ", ".join(found + ([library] if library else [])) or None


def jetson_release() -> str:
    """First line of a Jetson's release file, such as ``# R36 (release), REVISION: 4.3``; empty elsewhere."""
    return system_text("/etc/nv_tegra_release").partition("\n")[0].strip()
