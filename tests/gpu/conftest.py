"""What runs on a GPU: the kernels, built for the one at hand. Without one each test is skipped and says why."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from gpu_kernels import compile_kernels, missing_compiler, missing_gpu
from window_kernels import Kernels

#: Of this run's random inputs, in the report's header; SPARSEVIT_SEED repeats a run.
SEED = int(os.environ.get("SPARSEVIT_SEED") or secrets.randbits(31))


def pytest_collection_modifyitems(items):
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    reason = (missing_gpu() or missing_compiler()) if here else None
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
    return Kernels(compile_kernels(tmp_path_factory.mktemp("kernels") / "libsparsevit_kernels.so"))
