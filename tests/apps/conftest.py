from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from typer.testing import CliRunner

import recorded
import tiny
from networks import randomize
from shared_files import made_once
from sparsevit_apps.cli import app
from sparsevit_exporter import SegmentationModel, SparseViT

CLASSES = ("road", "car", "tree")


#: For subprocesses: the checkout's packages, installed or not.
ROOT = Path(__file__).parents[2]
PYTHON_PATH = os.pathsep.join(str(ROOT / part) for part in ("street", "runtime", "exporter", "training", "apps"))


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def sparsevit() -> Callable[..., Said]:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Said:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Environment of a subprocess that finds the packages."""
    return os.environ | {"PYTHONPATH": PYTHON_PATH}


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny model (`tiny.write_model`), by default a segmentation of 48x32."""

    def write(name: str = "tiny", **properties) -> Path:
        return tiny.write_model(tmp_path / f"{name}.onnx", **properties)

    return write


@pytest.fixture
def checked_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny model whose card records its outputs (`recorded.write_model`)."""

    def write(**given) -> Path:
        return recorded.write_model(tmp_path, **given)

    return write


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training checkpoint of a very small segmentation network, 48x64 pixels."""
    net = randomize(SegmentationModel(SparseViT(8, (2, 1, 2, 1), (1, 1, 2, 2)), len(CLASSES), 8), seed=5)
    path = tmp_path_factory.mktemp("checkpoint") / "small.pth"
    document = {
        "format": "sparsevit-edge",
        "version": 1,
        "task": "segmentation",
        "config": {
            "backbone": {"embed_dim": 8, "depths": [2, 1, 2, 1], "num_heads": [1, 1, 2, 2], "window_size": 7},
            "head": dict(net.head_config),
        },
        "classes": [{"name": name, "color": [40 * i, 90, 200]} for i, name in enumerate(CLASSES)],
        "state_dict": net.state_dict(),
        "input": {"height": 48, "width": 64, "mean": [100.0, 110.0, 120.0], "std": [50.0, 55.0, 60.0]},
        "training": {"data": "noise", "licence": "CC0", "recipe": "none"},
        "metrics": [
            {"name": "mIoU", "dataset": "noise", "ratio": ratio, "value": value, "unit": "%"}
            for ratio, value in ((0.0, 41.5), (0.5, 40.25))
        ],
    }
    torch.save(document, path)
    return path


class Exported(NamedTuple):
    path: Path
    said: Said


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, sparsevit: Callable[..., Said]) -> Exported:
    """The checkpoint exported by the command, once for all tests."""

    def write(folder: Path) -> None:
        folder.mkdir()
        said = sparsevit("export", checkpoint, "-o", folder / "small.onnx", "--half-weights")
        (folder / "said.json").write_text(json.dumps(said))

    folder = made_once(tmp_path_factory, "exported-by-command", write)
    return Exported(folder / "small.onnx", Said(*json.loads((folder / "said.json").read_text())))
