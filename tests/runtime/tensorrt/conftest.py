"""Exported models, and what the builder needs beside them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from networks import randomize
from plugins.conftest import cuda_headers, plugin_library, tensorrt_headers  # noqa: F401 - fixtures of the tests here
from sparsevit_exporter import ExportOptions, SegmentationModel, SparseViT, export
from sparsevit_runtime.card import ClassCard


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


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Function (precision) -> an export of a very small network, 60x88 pixels, every stage padded; made once each."""
    folder = tmp_path_factory.mktemp("exported")
    network = randomize(SegmentationModel(SparseViT(8, (2, 1, 1, 1), (1, 1, 2, 2)), 2, 8), seed=7)
    classes = [ClassCard(name=name, color=(0, 0, 0)) for name in ("road", "sky")]

    def make(precision: str = "fp32") -> Path:
        path = folder / f"{precision}.onnx"
        if not path.exists():
            assert export(network, path, ExportOptions(60, 88, precision=precision), classes).holds
        return path

    return make
