from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tiny
from exports import small_features


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny model (`tiny.write_model`), by default a segmentation of 48x32."""

    def write(name: str = "tiny", **properties) -> Path:
        return tiny.write_model(tmp_path / f"{name}.onnx", **properties)

    return write


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small backbone, always the same, 96x128 pixels."""
    return small_features(tmp_path_factory)
