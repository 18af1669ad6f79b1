from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tiny
from shared_files import made_once
from sparsevit_runtime.model import Model, load


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Model]:
    """Writes a tiny model with the given properties (`tiny.write_model`) and loads it."""
    models = []

    def make(**properties) -> Model:
        path = tiny.write_model(tmp_path / f"tiny{len(models)}.onnx", **properties)
        models.append(load(path, threads=1))
        return models[-1]

    yield make
    for model in models:
        model.close()


@pytest.fixture
def frame() -> np.ndarray:
    """(64, 96, 3) uint8 BGR: a brightness ramp, twice the tiny models' input."""
    y, x = np.mgrid[:64, :96]
    return np.stack([x * 2, y * 3, x + y], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Function (precision) -> an export of a very small network, 60x88 pixels, every stage padded; made once each."""
    from networks import randomize
    from sparsevit_exporter import ExportOptions, SegmentationModel, SparseViT, export
    from sparsevit_runtime.card import ClassCard

    network = randomize(SegmentationModel(SparseViT(8, (2, 1, 1, 1), (1, 1, 2, 2)), 2, 8), seed=17, bias=0.3)
    classes = [ClassCard(name=name, color=(0, 0, 0)) for name in ("road", "sky")]

    def make(precision: str = "fp32") -> Path:
        options = ExportOptions(60, 88, precision=precision)

        def write(path: Path) -> None:
            assert export(network, path, options, classes).holds

        return made_once(tmp_path_factory, f"exported/{precision}.onnx", write)

    return make
