"""Engines on the GPU against ONNX Runtime on the processor: every task, precision, plan and batch, with and without
plugins. Needs TensorRT; skipped with a reason where it is not installed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from networks import randomize
from sparsevit_exporter import DetectionModel, ExportOptions, SegmentationModel, SparseViT, export
from sparsevit_runtime import load
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.model import find_model
from sparsevit_runtime.tensorrt import BuildOptions, build_engine

torch = pytest.importorskip("torch")

FLAVOURS = [flavour for flavour in ("tensorrt", "tensorrt_rtx") if importlib.util.find_spec(flavour)]
pytestmark = pytest.mark.skipif(not FLAVOURS, reason="neither tensorrt nor tensorrt_rtx is installed")

OPTIONS = BuildOptions(flavour=FLAVOURS[0] if FLAVOURS else None, batch=(1, 1, 2))
PLUGINS = pytest.mark.parametrize("portable", [False, True], ids=["plugins", "portable"])
#: Largest difference of an fp32 engine, over the tensor's scale; TF32 is off.
FP32 = 1e-3
#: Least cosine of an fp16 engine with the fp32 file.
FP16 = 0.999


def backbone() -> SparseViT:
    return SparseViT(32, (2, 2, 4, 2), (1, 2, 4, 8), window_size=7)


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """(task, precision) -> an exported file; the same weights in each precision."""
    folder = tmp_path_factory.mktemp("models")
    classes = [ClassCard(name=name, color=(0, 0, 0)) for name in "abc"]
    networks = {
        "backbone": backbone,
        "segmentation": lambda: SegmentationModel(backbone(), 3, 32),
        "detection": lambda: DetectionModel(backbone(), 3, 32),
    }

    def make(task, precision):
        path = folder / f"{task}-{precision}.onnx"
        if not path.exists():
            network = randomize(networks[task](), seed=1)
            options = ExportOptions(150, 212, precision=precision)
            assert export(network, path, options, () if task == "backbone" else classes).holds
        return path

    return make


def plans(card, rng):
    """Dense, nothing, and rising random counts."""
    windows = np.array([stage.windows for stage in card.stages for _ in range(stage.pairs)])
    yield windows
    yield np.maximum(1, windows * 2 // 5)
    yield np.zeros_like(windows)
    for _ in range(3):
        yield np.array(
            [n for s in card.stages for n in -np.sort(-rng.integers(1, s.windows + 1, s.pairs))], dtype=np.int64
        )


def images(card, batch, rng):
    return rng.integers(0, 256, (batch, card.input.height, card.input.width, 3), dtype=np.uint8)


@PLUGINS
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_features(write, tmp_path, seed, precision, portable):
    build_engine(write("backbone", precision), tmp_path / "m.engine", replace(OPTIONS, portable=portable))
    rng = np.random.default_rng(seed)
    with load(tmp_path / "m.engine") as model, load(write("backbone", "fp32"), device="cpu") as reference:
        names = [name for name in model.backend.output_names if name.startswith("stage")]
        for keep in plans(model.card, rng):
            for batch in (1, 2, 1, 1):  # the last ones are replayed from a graph
                given = images(model.card, batch, rng)
                found = model.backend.run(given, keep, names)
                wanted = reference.backend.run(given, keep, names)
                for name in names:
                    one, other = found[name].astype(np.float64), wanted[name].astype(np.float64)
                    assert np.isfinite(one).all(), name
                    if precision == "fp32":
                        assert np.abs(one - other).max() <= FP32 * np.abs(other).max(), (name, keep, batch)
                    else:
                        cosine = (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())
                        assert cosine >= FP16, (name, keep, batch)


@PLUGINS
@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_answers(write, tmp_path, seed, task, portable):
    build_engine(write(task, "fp32"), tmp_path / "m.engine", replace(OPTIONS, portable=portable))
    rng = np.random.default_rng(seed)
    with load(tmp_path / "m.engine") as model, load(write(task, "fp32"), device="cpu") as reference:
        for keep in plans(model.card, rng):
            given = images(model.card, 2, rng)
            found = model.backend.run(given, keep, model.backend.output_names)
            wanted = reference.backend.run(given, keep, model.backend.output_names)
            if task == "segmentation":
                assert (found["labels"] == wanted["labels"]).mean() > 0.999
            else:
                np.testing.assert_allclose(found["scores"], wanted["scores"], atol=FP32)


def test_bundled_model_and_frames_on_the_gpu(tmp_path, seed):
    source = find_model("street-scenes")
    build_engine(source, tmp_path / "m.engine", OPTIONS)
    rng = np.random.default_rng(seed)
    with load(tmp_path / "m.engine") as model, load(source, device="cpu") as reference:
        for _ in range(4):
            frame = rng.integers(0, 256, (*rng.integers(100, 900, 2), 3), dtype=np.uint8)
            wanted = reference(frame, 0.5).label_map
            for given in (frame, torch.from_numpy(frame).cuda()):
                assert (model(given, 0.5).label_map == wanted).mean() > 0.99


def test_a_stream(write, tmp_path, seed):
    build_engine(write("segmentation", "fp32"), tmp_path / "m.engine", OPTIONS)
    frames = np.random.default_rng(seed).integers(0, 256, (20, 240, 320, 3), dtype=np.uint8)
    with load(tmp_path / "m.engine") as model:
        alone = [model(frame, 0.5).label_map for frame in frames]
        for result, wanted in zip(model.stream(list(frames), 0.5), alone):
            np.testing.assert_array_equal(result.label_map, wanted)
