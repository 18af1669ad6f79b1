from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tiny
from networks import randomize
from shared_files import made_once
from sparsevit_exporter import ExportOptions, SparseViT, export


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny model (`tiny.write_model`), by default a segmentation of 48x32."""

    def write(name: str = "tiny", **properties) -> Path:
        return tiny.write_model(tmp_path / f"{name}.onnx", **properties)

    return write


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small backbone, always the same, 96x128 pixels."""

    def write(path: Path) -> None:
        torch.manual_seed(0)
        assert export(randomize(SparseViT(8, (2, 1, 2, 1), (1, 1, 2, 2)), seed=5), path, ExportOptions(96, 128)).holds

    return made_once(tmp_path_factory, "features/features.onnx", write)
