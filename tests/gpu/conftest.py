"""What runs on a GPU: the kernels and the plugins, built for the one at hand. Without one each test is skipped and says
why; so is what needs a compiler or a library that is not there.

Imports nothing but pytest, and modules of the tests that need NumPy alone: the kernels' tests run with nvcc and torch
on a machine without TensorRT and without this project's own dependencies.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_kernels import (
    ROOT,
    CannotBuildError,
    build_ops,
    build_plugins,
    compile_kernels,
    missing_compiler,
    missing_gpu,
)
from window_kernels import Kernels

#: Of this run's random inputs, in the report's header; SPARSEVIT_SEED repeats a run.
SEED = int(os.environ.get("SPARSEVIT_SEED") or secrets.randbits(31))
#: Names the library that engines are built and opened with (sparsevit_runtime/tensorrt/plugin_library.py).
LIBRARY = "SPARSEVIT_PLUGINS"
#: Names the library of custom ops (sparsevit_runtime/custom_ops.py).
OPS = "SPARSEVIT_ORT_OPS"


def pytest_collection_modifyitems(items):
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    reason = missing_gpu() if here else None
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
    reason = missing_compiler()
    if reason:
        pytest.skip(reason)
    return Kernels(compile_kernels(tmp_path_factory.mktemp("kernels") / "libsparsevit_kernels.so"))


@pytest.fixture(scope="session")
def plugin_library() -> Iterator[Path]:
    """libsparsevit_plugins.so for this machine's GPU, named in $SPARSEVIT_PLUGINS; one that is named there stays."""
    named = os.environ.get(LIBRARY)
    if named:
        yield Path(named)
        return
    import torch

    architecture = "".join(map(str, torch.cuda.get_device_capability()))
    try:
        library = build_plugins(ROOT / "build" / f"test-gpu-{architecture}", architecture)
    except CannotBuildError as error:
        pytest.skip(f"no plugin library: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LIBRARY, str(library))
        yield library


@pytest.fixture(scope="session")
def ort_ops() -> Iterator[Path]:
    """libsparsevit_ort.so for this machine's GPU, named in $SPARSEVIT_ORT_OPS; one that is named there stays."""
    named = os.environ.get(OPS)
    if named:
        yield Path(named)
        return
    import torch

    architecture = "".join(map(str, torch.cuda.get_device_capability()))
    try:
        library = build_ops(ROOT / "build" / f"test-gpu-ort-{architecture}", architecture)
    except CannotBuildError as error:
        pytest.skip(f"no library of custom ops: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(OPS, str(library))
        yield library
