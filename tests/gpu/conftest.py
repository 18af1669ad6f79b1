"""What runs on a GPU: the kernels, built for the one at hand. Without one each test is skipped and says why."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from window_kernels import Kernels

PLUGINS = Path(__file__).parents[2] / "plugins"
#: Of this run's random inputs, in the report's header; SPARSEVIT_SEED repeats a run.
SEED = int(os.environ.get("SPARSEVIT_SEED") or secrets.randbits(31))


def _missing() -> str | None:
    """Why the GPU tests cannot run, or None."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if not torch.cuda.is_available():
        return "no GPU that torch can use"
    return None if shutil.which("nvcc") else "nvcc is not on PATH"


def pytest_collection_modifyitems(items):
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    reason = _missing() if here else None
    for item in here:
        item.add_marker(pytest.mark.gpu)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_report_header(config):
    return f"SPARSEVIT_SEED={SEED}"


@pytest.fixture(scope="session")
def seed() -> int:
    return SEED


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    """libsparsevit_kernels, compiled for this machine's GPU."""
    path = tmp_path_factory.mktemp("kernels") / "libsparsevit_kernels.so"
    sources = [PLUGINS / "launchers" / "launchers.cpp", *sorted(PLUGINS.glob("*/kernel.cu"))]
    flags = ["-std=c++17", "-O3", "-arch=native", f"-I{PLUGINS}", "-Werror=all-warnings", "-cudart=static"]
    host = ["-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Werror", "--shared"]
    subprocess.run(["nvcc", *flags, *host, *map(str, sources), "-o", str(path)], check=True)
    return Kernels(path)
