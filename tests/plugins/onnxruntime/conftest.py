"""The custom-op library whose kernels run on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from host_ort import host_ort


@pytest.fixture(scope="session")
def library() -> Path:
    return host_ort()
