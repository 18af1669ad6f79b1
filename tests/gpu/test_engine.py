# ruff: noqa: E402 - the imports after the first need what a machine for the kernels' tests may lack
"""Engines on the GPU against ONNX Runtime on the CPU: every task, precision, plan and batch, with and without
plugins. Needs TensorRT and what exports models; skipped with a reason where they are not installed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for library in ("cuda.bindings", "cv2", "onnx", "onnxruntime", "onnxscript", "pydantic", "typer"):
    pytest.importorskip(library, reason=f"models are exported, and engines built and run, with {library}")

from typer.testing import CliRunner

from networks import randomize
from sparsevit_apps.cli import app
from sparsevit_exporter import DetectionModel, ExportOptions, SegmentationModel, SparseViT, export
from sparsevit_runtime import load
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.diagnostics.comparing import TRIES, compare_run
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.model import find_model
from sparsevit_runtime.tensorrt import BuildOptions, build_engine

FLAVOURS = [flavour for flavour in ("tensorrt", "tensorrt_rtx") if importlib.util.find_spec(flavour)]
pytestmark = pytest.mark.skipif(not FLAVOURS, reason="neither tensorrt nor tensorrt_rtx is installed")

OPTIONS = BuildOptions(flavour=FLAVOURS[0] if FLAVOURS else None, batch=(1, 1, 2))


@pytest.fixture(params=["plugins", "portable"])
def options(request) -> BuildOptions:
    """With the plugins of this machine's GPU, or with the portable bodies, which need none."""
    if request.param == "plugins":
        request.getfixturevalue("plugin_library")
    return replace(OPTIONS, portable=request.param == "portable")


def backbone() -> SparseViT:
    return SparseViT(32, (2, 2, 4, 2), (1, 2, 4, 8), window_size=7)


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """(task, precision) -> an exported file; the same weights in each precision."""
    folder = tmp_path_factory.mktemp("models")
    classes = [ClassCard(name=name, color=(0, 0, 0)) for name in "abc"]
    torch.manual_seed(1)  # what `randomize` leaves, it leaves random
    networks = {
        "backbone": backbone(),
        "segmentation": SegmentationModel(backbone(), 3, 32),
        "detection": DetectionModel(backbone(), 3, 32),
    }
    for network in networks.values():
        randomize(network, seed=1)

    def make(task, precision):
        path = folder / f"{task}-{precision}.onnx"
        if not path.exists():
            options = ExportOptions(150, 212, precision=precision)
            assert export(networks[task], path, options, () if task == "backbone" else classes).holds
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
    """Random probe images: the windows of plain noise all score alike."""
    seeds = rng.integers(0, 2**32, batch)
    return np.stack([probe_image(card.input.height, card.input.width, int(seed)) for seed in seeds])


@pytest.mark.parametrize("task", ["backbone", "segmentation", "detection"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_outputs(write, tmp_path, seed, task, precision, options):
    """All of every output, with the limits of `sparsevit check`; half precision, too, against the file in full."""
    build_engine(write(task, precision), tmp_path / "m.engine", options)
    rng = np.random.default_rng(seed)
    with load(tmp_path / "m.engine") as model, load(write(task, "fp32"), device="cpu") as reference:
        names = reference.backend.output_names
        for keep in plans(model.card, rng):
            for batch in (1, 2, 1):
                given = (images(model.card, batch, rng) for _ in range(TRIES))
                title = f"keep {keep}, batch {batch}"
                rows = compare_run(model.backend, reference.backend, given, keep, names, precision, title)
                assert len(rows) == 2 * len(names)  # of the first run, and of one replayed from a graph
                assert not [row for row in rows if not row.agrees]


def test_check(write, tmp_path, options):
    """`sparsevit check` of an engine that takes no single image."""
    build_engine(write("detection", "fp32"), tmp_path / "m.engine", replace(options, batch=(2, 3, 4)))
    said = CliRunner().invoke(app, ["check", str(tmp_path / "m.engine"), "--against", str(write("detection", "fp32"))])
    assert said.exit_code == 0, said.output


def test_bundled_model_and_frames_on_the_gpu(plugin_library, tmp_path, seed):
    source = find_model("street-scenes")
    build_engine(source, tmp_path / "m.engine", OPTIONS)
    rng = np.random.default_rng(seed)
    with load(tmp_path / "m.engine") as model, load(source, device="cpu") as reference:
        for _ in range(4):
            frame = rng.integers(0, 256, (*rng.integers(100, 900, 2), 3), dtype=np.uint8)
            wanted = reference(frame, 0.5).label_map
            for given in (frame, torch.from_numpy(frame).cuda()):
                assert (model(given, 0.5).label_map == wanted).mean() > 0.99


def test_a_stream(plugin_library, write, tmp_path, seed):
    build_engine(write("segmentation", "fp32"), tmp_path / "m.engine", OPTIONS)
    frames = np.random.default_rng(seed).integers(0, 256, (20, 240, 320, 3), dtype=np.uint8)
    with load(tmp_path / "m.engine") as model:
        alone = [model(frame, 0.5).label_map for frame in frames]
        for result, wanted in zip(model.stream(list(frames), 0.5), alone):
            np.testing.assert_array_equal(result.label_map, wanted)
