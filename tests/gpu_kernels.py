"""The kernels on this machine's GPU: compiled, and memory they reach; for tests/gpu and benchmarks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np

PLUGINS = Path(__file__).parents[1] / "plugins"


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
    return None if shutil.which("nvcc") else "nvcc is not on PATH"


def compile_kernels(path: Path, architecture: str = "native") -> Path:
    """Writes libsparsevit_kernels, the launchers with their C ABI.

    Args:
        architecture: as nvcc's -arch; `native` is the GPU at hand.

    Raises:
        CalledProcessError: it does not compile; nvcc has said why on stderr.
    """
    sources = [PLUGINS / "launchers" / "launchers.cpp", *sorted(PLUGINS.glob("*/kernel.cu"))]
    flags = ["-std=c++17", "-O3", f"-arch={architecture}", f"-I{PLUGINS}", "-Werror=all-warnings", "-cudart=static"]
    host = ["-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Werror", "--shared"]
    subprocess.run(["nvcc", *flags, *host, *map(str, sources), "-o", str(path)], check=True)
    return path


class DeviceBuffer:
    """The GPU's copy of some bytes, at a 256-byte boundary."""

    def __init__(self, content: np.ndarray) -> None:
        import torch

        self.tensor = torch.from_numpy(content).cuda()
        self.address = self.tensor.data_ptr()

    def read(self) -> np.ndarray:
        return self.tensor.cpu().numpy()  # waits for the whole device
