"""libsparsevit_ort with the kernels that run on the CPU: the real ops in the real ONNX Runtime, without a GPU."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from host_kernels import BUILD, HOST_CUDA, PLUGINS, ROOT, host_kernels

ORT = PLUGINS / "onnxruntime"

_FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-DSPARSEVIT_ORT_ON_CPU"]
_FLAGS += ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wno-unknown-pragmas", "-Werror"]
_FLAGS += [f"-I{HOST_CUDA}", f"-I{PLUGINS}"]
#: What calls cuBLASLt, which has no CPU, and what stands for it.
_ON_GPU = {"cublaslt.cpp", "products.cpp"}
_ON_CPU = ROOT / "tests" / "plugins" / "onnxruntime" / "products_on_cpu.cpp"


def host_ort() -> Path:
    """The library, registered for ONNX Runtime's CPU provider; kept under build/ until a source of it changes.

    Raises:
        CalledProcessError: it does not compile; the compiler has said why on stderr.
    """
    kernels = host_kernels()
    sources = [*sorted(path for path in ORT.rglob("*.cpp") if path.name not in _ON_GPU), _ON_CPU]
    library = BUILD / f"ort-{_digest(kernels)}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            objects = [Path(folder) / f"{number}.o" for number in range(len(sources))]
            with ThreadPoolExecutor(2) as compilers:
                list(compilers.map(_compile, sources, objects))
            linked = Path(folder) / library.name
            # What stays undefined is a mistake now, and not when it is loaded.
            libraries = [kernels, f"-Wl,-rpath,{BUILD}", "-Wl,--no-undefined"]
            subprocess.run(["g++", "-shared", *objects, *libraries, "-o", linked], check=True)
            linked.replace(library)  # whole or not at all: tests may run side by side
    return library


def _compile(source: Path, target: Path) -> None:
    subprocess.run(["g++", *_FLAGS, "-c", source, "-o", target], check=True)


def _digest(kernels: Path) -> str:
    """Of everything that decides what the library holds."""
    digest = hashlib.sha256(kernels.name.encode() + repr(_FLAGS).encode())
    for path in [*sorted(path for path in ORT.rglob("*") if path.suffix in {".h", ".cpp"}), _ON_CPU]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
