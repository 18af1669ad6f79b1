"""The kernels on this machine's GPU: compiled, and memory they reach; for the benchmarks and tests/gpu.

Needs nvcc, torch and NumPy, nothing of this project's.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PLUGINS = ROOT / "plugins"
#: Names libsparsevit_kernels, where it was compiled beforehand for the GPU at hand.
KERNELS = "SPARSEVIT_KERNELS"
#: cudaErrorInvalidValue, with which the launchers refuse a call.
INVALID_VALUE = 1


class CannotBuildError(Exception):
    """What the plugin library needs to be built and this machine lacks."""


def missing_gpu() -> str | None:
    """Why kernels cannot run here, or None."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if not torch.cuda.is_available():
        return "no GPU that torch can use"
    return None


def missing_compiler() -> str | None:
    """Why kernels cannot be compiled here, or None."""
    return None if os.environ.get(KERNELS) or shutil.which("nvcc") else "nvcc is not on PATH"


def compile_kernels(path: Path, architecture: str = "native") -> Path:
    """Writes libsparsevit_kernels, all kernels with their C ABI; nothing where $SPARSEVIT_KERNELS names one.

    Args:
        architecture: as nvcc's -arch; `native` is the GPU at hand.

    Raises:
        CalledProcessError: it does not compile; nvcc has said why on stderr.
    """
    if named := os.environ.get(KERNELS):
        return Path(named)
    kernels = PLUGINS / "kernels"
    sources = [*sorted(kernels.rglob("*.cpp")), *sorted(kernels.rglob("*.cu"))]
    flags = ["-std=c++17", "-O3", f"-arch={architecture}", f"-I{PLUGINS}", "-Werror=all-warnings", "-cudart=static"]
    host = ["-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Werror", "--shared"]
    subprocess.run(["nvcc", *flags, *host, *map(str, sources), "-o", str(path)], check=True)
    return path


def packaged_headers() -> Path | None:
    """TensorRT's headers as the Python package kernel-lens carries them, for a machine without TensorRT; or None."""
    spec = importlib.util.find_spec("kernel_lens")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "include" / "tensorrt"


def build_plugins(folder: Path, architectures: str) -> Path:
    """Builds libsparsevit_plugins with CMake, as a user does; a later run compiles only what has changed.

    TensorRT's headers are those that CMake finds, else the packaged ones.

    Args:
        folder: to build in.
        architectures: compute capabilities without their point, such as `90`, or `native`.

    Raises:
        CannotBuildError: there is no CMake, compiler, or TensorRT's headers; with what CMake says of it.
        CalledProcessError: it does not compile; the compiler has said why on stderr.
    """
    if shutil.which("cmake") is None:
        raise CannotBuildError("cmake is not on PATH")
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), f"-DSPARSEVIT_CUDA_ARCHITECTURES={architectures}"]
    left_out = _left_out(configure)
    packaged = packaged_headers()
    if left_out and "no TensorRT headers" in left_out and packaged:
        left_out = _left_out([*configure, f"-DTENSORRT_INCLUDE_DIR={packaged}"])
    if left_out:
        raise CannotBuildError(left_out)
    subprocess.run(["cmake", "--build", str(folder), "--parallel"], check=True, stdout=subprocess.DEVNULL)
    return folder / "plugins" / "libsparsevit_plugins.so"


def build_ops(folder: Path, architectures: str) -> Path:
    """Builds libsparsevit_ort, the custom ops for ONNX Runtime, as `build_plugins` builds its library; no header of
    ONNX Runtime or TensorRT is needed."""
    if shutil.which("cmake") is None:
        raise CannotBuildError("cmake is not on PATH")
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), f"-DSPARSEVIT_CUDA_ARCHITECTURES={architectures}"]
    if left_out := _left_out(configure, "libsparsevit_ort"):
        raise CannotBuildError(left_out)
    build = ["cmake", "--build", str(folder), "--parallel", "--target", "sparsevit_ort"]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return folder / "plugins" / "libsparsevit_ort.so"


def _left_out(configure: list[str], library: str = "libsparsevit_plugins") -> str | None:
    """Runs CMake. Returns why it leaves a library out, or None."""
    said = subprocess.run(configure, check=True, text=True, stdout=subprocess.PIPE).stdout
    found = re.search(rf"{library} is not built: (.*)", said)
    return found[1] if found else None


class DeviceBuffer:
    """The GPU's copy of some bytes, at a 256-byte boundary."""

    def __init__(self, content: np.ndarray) -> None:
        import torch

        self.tensor = torch.from_numpy(content).cuda()
        torch.cuda.synchronize()  # other streams do not wait for this one's copies
        self.address = self.tensor.data_ptr()

    def read(self) -> np.ndarray:
        import torch

        torch.cuda.synchronize()  # whatever stream wrote it; a copy waits for its own alone
        return self.tensor.cpu().numpy()
