"""What the builder needs beside an exported model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from plugins.conftest import cuda_headers, plugin_library, tensorrt_headers  # noqa: F401 - fixtures of the tests here


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what is kept from build to build, instead of the user's; it does not exist yet."""
    folder = tmp_path_factory.mktemp("kept") / "cache"
    monkeypatch.setenv("SPARSEVIT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def rtx() -> None:
    """TensorRT for RTX, whose builder needs no GPU."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("TensorRT for RTX is not installed: `pip install tensorrt-rtx-cu13`")
