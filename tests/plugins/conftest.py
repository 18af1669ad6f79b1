"""The libraries of both hosts, built once and kept under build/, and TensorRT-RTX's builder in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import onnx
import pytest

from gpu_kernels import packaged_headers
from host_kernels import ARCHITECTURES, COMPILED_ONCE
from shared_files import one_at_a_time
from sparsevit_runtime.tensorrt.plugin_library import PLUGIN_NAMES, PLUGIN_NAMESPACE
from sparsevit_runtime.tensorrt.plugin_nodes import in_namespace

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "test-plugins"
RTX_BUILD = Path(__file__).parent / "tensorrt" / "rtx_build.py"


def run(*command, **options) -> subprocess.CompletedProcess:
    """Runs a command; its output becomes the failure's message."""
    result = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}\n{result.stderr}"
    return result


def kernels_compiled_once() -> AbstractContextManager[None]:
    """Whoever builds second waits, and finds what the first has compiled, in the same folder or by ccache."""
    return one_at_a_time(BUILD.with_name("kernels"))


def find_headers() -> Path | None:
    """TensorRT's, where there are any."""
    for folder in (os.environ.get("TENSORRT_INCLUDE_DIR"), packaged_headers(), "/usr/include/x86_64-linux-gnu"):
        if folder and (Path(folder) / "NvInferRuntime.h").exists():
            return Path(folder)
    return None


@pytest.fixture(scope="session")
def tensorrt_headers() -> Path:
    found = find_headers()
    if found is None:
        pytest.skip("no TensorRT headers: set TENSORRT_INCLUDE_DIR or `pip install --no-deps kernel-lens`")
    return found


@pytest.fixture(scope="session")
def cuda_headers() -> Path:
    compiler = shutil.which("nvcc")
    if compiler is None:
        pytest.skip("no CUDA compiler: nvcc is not on PATH")
    for line in run("nvcc", "--dryrun", "-x", "cu", "-c", "/dev/null").stderr.splitlines():
        if line.startswith("#$ INCLUDES="):
            return Path(line.split("-I", 1)[1].split('"')[0].strip())
    pytest.fail("nvcc --dryrun names no include folder")


@pytest.fixture(scope="session")
def plugin_library(tensorrt_headers, cuda_headers) -> Path:
    """libsparsevit_plugins.so as a user builds it; a later run compiles only what has changed."""
    options = [f"-DSPARSEVIT_CUDA_ARCHITECTURES={ARCHITECTURES}", "-DSPARSEVIT_REQUIRE_PLUGINS=ON"]
    with kernels_compiled_once():
        run("cmake", "-S", ROOT, "-B", BUILD, f"-DTENSORRT_INCLUDE_DIR={tensorrt_headers}", *options, env=COMPILED_ONCE)
        run("cmake", "--build", BUILD, "--parallel", "2")
    return BUILD / "plugins" / "libsparsevit_plugins.so"


@pytest.fixture(scope="session")
def ort_library(request, cuda_headers) -> Path:
    """libsparsevit_ort.so, built beside the plugin library, or by itself where there are no headers of TensorRT."""
    if find_headers() is not None:
        return request.getfixturevalue("plugin_library").with_name("libsparsevit_ort.so")
    folder = BUILD.with_name("test-ort")
    run("cmake", "-S", ROOT, "-B", folder, f"-DSPARSEVIT_CUDA_ARCHITECTURES={ARCHITECTURES}", env=COMPILED_ONCE)
    run("cmake", "--build", folder, "--parallel", "2")
    return folder / "plugins" / "libsparsevit_ort.so"


@pytest.fixture(scope="session")
def build_engine(tmp_path_factory):
    """Function (model file, profile, library=None, **options) -> report of rtx_build.py, as a dictionary.

    TensorRT-RTX's parser opens its core by a name that the wheel lacks and the loader looks up before Python starts:
    hence the folder of links and the process of its own.
    """
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    if spec is None or importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("TensorRT-RTX is not installed: `pip install tensorrt-rtx-cu13`")
    core = Path(spec.submodule_search_locations[0]) / "libtensorrt_rtx.so.1"
    folder = tmp_path_factory.mktemp("tensorrt_rtx")
    for name in ("libtensorrt_rtx.so", "libtensorrt_rtx.so.1"):
        (folder / name).symlink_to(core)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}

    def build(model: Path, profile: dict, library: Path | None = None, **options) -> dict:
        if library is not None and not onnx.load(model).functions:  # as the product's builder gives it to TensorRT
            named = in_namespace(model.read_bytes(), PLUGIN_NAMES, PLUGIN_NAMESPACE)
            model = folder / model.name
            model.write_bytes(named)
        request = {"model": str(model), "profile": profile, "library": str(library) if library else None, **options}
        result = run(sys.executable, RTX_BUILD, json.dumps(request), env=environment, cwd=folder)
        report = json.loads(result.stdout.splitlines()[-1])
        # A library built for another major version of TensorRT cannot reach its log and writes to stderr.
        report["log"] += result.stderr.splitlines()
        return report

    return build
