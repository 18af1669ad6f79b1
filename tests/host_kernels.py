"""The kernels' sources compiled for the host, where they run thread by thread, and memory they reach there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PLUGINS = ROOT / "plugins"
KERNELS = PLUGINS / "kernels"
HOST = ROOT / "tests" / "plugins" / "kernels"
#: CUDA as far as the kernels use it, in plain C++.
HOST_CUDA = HOST / "host_cuda"
BUILD = ROOT / "build" / "test-host-kernels"
#: Of what nvcc makes of them: a Jetson's; up to PTX where the library for aarch64 is compiled to the end
#: (test_targets.py), since nothing here runs a kernel.
ARCHITECTURES = "87-virtual" if shutil.which("aarch64-linux-gnu-g++") else "87"
#: The environment of all builds alike, so that ccache finds what another has compiled. PTX that nothing runs is not
#: optimised: of the largest kernel that is more than half of the compiler's work.
COMPILED_ONCE = {**os.environ, "CUDAFLAGS": "-Xcicc -O0"} if ARCHITECTURES.endswith("virtual") else dict(os.environ)

_WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wno-unknown-pragmas", "-Werror"]
_FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", *_WARNINGS, f"-I{HOST_CUDA}", f"-I{PLUGINS}"]


def host_kernels() -> Path:
    """The library of all kernels with their C ABI, and of what tests/plugins/kernels looks at from inside.

    It is kept under build/ until a source of it changes.

    Raises:
        CalledProcessError: it does not compile; the compiler has said why on stderr.
    """
    sources = [*sorted(KERNELS.rglob("*.cpp")), *sorted(KERNELS.rglob("*.cu")), *sorted(HOST.rglob("*.cpp"))]
    library = BUILD / f"{_digest(sources)}.so"
    if not library.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            objects = [Path(folder) / f"{number}.o" for number in range(len(sources))]
            with ThreadPoolExecutor(os.cpu_count()) as compilers:
                list(compilers.map(_compile, sources, objects))
            linked = Path(folder) / library.name
            subprocess.run(["g++", "-shared", *objects, "-o", linked], check=True)
            linked.replace(library)  # whole or not at all: tests may run side by side
    return library


def _compile(source: Path, target: Path) -> None:
    subprocess.run(["g++", *_FLAGS, "-x", "c++", "-c", source, "-o", target], check=True)


def _digest(sources: list[Path]) -> str:
    """Of everything that decides what the library holds."""
    headers = [path for folder in (KERNELS, HOST) for pattern in ("*.h", "*.cuh") for path in folder.rglob(pattern)]
    compiler = subprocess.run(["g++", "--version"], check=True, capture_output=True).stdout
    digest = hashlib.sha256(compiler + repr(_FLAGS).encode())
    for path in [*sources, *sorted(headers)]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class HostBuffer:
    """Some bytes at a 256-byte boundary, as the GPU's memory has them."""

    def __init__(self, content: np.ndarray) -> None:
        self._bytes = np.empty(len(content) + 256, np.uint8)
        start = -self._bytes.ctypes.data % 256
        self._view = self._bytes[start : start + len(content)]
        self._view[:] = content
        self.address = self._view.ctypes.data

    def read(self) -> np.ndarray:
        return self._view.copy()
