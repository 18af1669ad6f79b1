# ruff: noqa: E402 - the imports after the first need what a machine for the kernels' tests may lack
"""ONNX Runtime on CUDA against ONNX Runtime on the CPU: every task, precision, plan and batch, with the custom ops, as
CUDA graphs and not, and with the portable bodies. Needs onnxruntime-gpu and what exports models; skipped with a reason
where they are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for library in ("cv2", "onnx", "onnxruntime", "onnxscript", "pydantic"):
    pytest.importorskip(library, reason=f"models are exported and run with {library}")

import onnxruntime

from networks import randomize
from sparsevit_exporter import DetectionModel, ExportOptions, SegmentationModel, SparseViT, export
from sparsevit_runtime import bundled_models, load
from sparsevit_runtime.backends import LoadOptions
from sparsevit_runtime.bundled import ALSO_IN_HALF
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.diagnostics import check, compare, optimised_nodes
from sparsevit_runtime.diagnostics.optimised import TO_HOST
from sparsevit_runtime.graph.onnx_file import read_onnx
from sparsevit_runtime.images.probe import probe_image

if hasattr(onnxruntime, "preload_dlls"):
    onnxruntime.preload_dlls()  # CUDA and cuDNN, where PyTorch brought them
pytestmark = pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="this onnxruntime has no CUDA"
)

#: Padded in every stage, and in none.
SIZES = ((150, 212), (224, 224))
#: Largest difference over a tensor's scale and least cosine, by precision; more than windows ranked otherwise make.
LIMITS = {"fp32": (1e-3, 0.9999), "fp16": (0.25, 0.999)}


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """(task, precision, size) -> an exported file; the same weights in each."""
    folder = tmp_path_factory.mktemp("models")
    classes = [ClassCard(name=name, color=(0, 0, 0)) for name in "abc"]
    torch.manual_seed(1)

    def backbone() -> SparseViT:
        return SparseViT(32, (2, 2, 4, 2), (1, 2, 4, 8), window_size=7)

    networks = {
        "backbone": backbone(),
        "segmentation": SegmentationModel(backbone(), 3, 32),
        "detection": DetectionModel(backbone(), 3, 32),
    }
    for network in networks.values():
        randomize(network, seed=1)

    def make(task, precision, size):
        path = folder / f"{task}-{precision}-{size[0]}.onnx"
        if not path.exists():
            options = ExportOptions(*size, precision=precision)
            assert export(networks[task], path, options, () if task == "backbone" else classes).holds
        return path

    return make


@pytest.fixture(params=["custom ops", "bodies"])
def options(request) -> LoadOptions:
    if request.param == "custom ops":
        request.getfixturevalue("ort_ops")
    return LoadOptions(device="cuda", portable=request.param == "bodies")


def plans(card, rng, many):
    """Dense, nothing, and random counts that do not rise."""
    windows = [(stage.windows, stage.pairs) for stage in card.stages]
    yield np.array([n for n, pairs in windows for _ in range(pairs)])
    yield np.zeros(sum(pairs for _, pairs in windows), np.int64)
    for _ in range(many):
        yield np.array([n for most, pairs in windows for n in -np.sort(-rng.integers(0, most + 1, pairs))], np.int64)


def images(card, batch, rng):
    seeds = rng.integers(0, 2**32, batch)
    return np.stack([probe_image(card.input.height, card.input.width, int(seed)) for seed in seeds])


def agrees(found, wanted, precision) -> bool:
    """Maps and scores; labels and window orders are choices, which rounding turns here and there."""
    largest, cosine = LIMITS[precision]
    for name, array in wanted.items():
        a, b = np.float64(found[name]).ravel(), np.float64(array).ravel()
        if not np.isfinite(a).all():
            return False
        if "windows" in name or name in ("labels", "classes", "boxes"):
            continue
        scale = max(1e-3, np.abs(b).max())
        if np.abs(a - b).max() > largest * scale or a @ b < cosine * np.linalg.norm(a) * np.linalg.norm(b):
            return False
    return "labels" not in wanted or (found["labels"] == wanted["labels"]).mean() > 0.98


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("task", ["backbone", "segmentation", "detection"])
def test_answers_are_the_cpus_at_every_plan_and_batch(write, seed, task, precision, size, ort_ops):
    """With the portable bodies, with the custom ops, and as CUDA graphs: a run is recorded when it comes again."""
    path, rng = write(task, precision, size), np.random.default_rng(seed)
    with load(path, options=LoadOptions(device="cpu", threads=2)) as reference:
        names, known = reference.backend.output_names, []
        for keep in plans(reference.card, rng, 3):
            for batch in (1, 2, 3, 4):
                feeds = feeds_of(images(reference.card, batch, rng), keep)
                known.append((feeds, reference.backend.run(feeds, names)))
    for options, times in (
        (LoadOptions(device="cuda", portable=True), 1),
        (LoadOptions(device="cuda", graphs=0), 1),
        (LoadOptions(device="cuda", graphs=len(known)), 3),
    ):
        with load(path, options=options) as model:
            ops, nodes = model.backend.ops, read_onnx(path).nodes
            assert ops.nodes == (() if options.portable else nodes), str(ops)
            for turn in range(times):
                for feeds, wanted in known:
                    found = model.backend.run(feeds, names)
                    where = f"{ops}, run {turn}, keep {feeds['keep']}, batch {len(feeds['image'])}"
                    assert agrees(found, wanted, precision), where
            kinds = {(len(feeds["image"]), tuple(feeds["keep"])) for feeds, _ in known}
            assert model.backend.details["cuda graphs"] == (f"{len(kinds)} held" if times > 1 else "none")


def test_a_thousand_frames_with_changing_keep(write, seed, ort_ops):
    path, rng = write("backbone", "fp32", SIZES[0]), np.random.default_rng(seed)
    options = LoadOptions(device="cpu", threads=2)
    with load(path, device="cuda") as model, load(path, options=options) as reference:
        names = [name for name in model.backend.output_names if "windows" not in name]
        known = []
        for keep in plans(model.card, rng, 18):
            feeds = feeds_of(images(model.card, 1, rng), keep)
            known.append((feeds, reference.backend.run(feeds, names)))
        for i in rng.integers(0, len(known), 1000):
            feeds, wanted = known[i]
            assert agrees(model.backend.run(feeds, names), wanted, "fp32"), feeds["keep"]
        assert model.backend.details["cuda graphs"] == "16 held"


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_bundled_models_agree_with_what_was_recorded(name, options):
    with load(name, options=replace(options, precision="exported")) as model:
        report = check(model)
        assert report.agrees, report.worst


@pytest.mark.parametrize("name", ALSO_IN_HALF)
def test_bundled_models_compute_in_half_precision_by_themselves(name, options):
    with load(name, options=options) as model:
        assert model.card.precision == "fp16"
        report = compare(model, name)
        assert report.agrees, report.worst


def test_no_shape_goes_back_to_the_host(write, ort_ops):
    """Each such copy stops the GPU; `keep` is the host's to begin with."""
    nodes = optimised_nodes(write("backbone", "fp16", SIZES[1]), device="cuda")
    assert nodes[TO_HOST] == 0, nodes


def test_frames_on_the_gpu(seed, ort_ops):
    pytest.importorskip("cuda.bindings", reason="frames on the GPU are taken where cuda-python is")
    rng = np.random.default_rng(seed)
    with load("street-scenes", device="cuda") as model, load("street-scenes", device="cpu") as reference:
        assert model.backend.capabilities.device_frames
        for _ in range(4):
            frame = rng.integers(0, 256, (*rng.integers(100, 900, 2), 3), dtype=np.uint8)
            wanted = reference(frame, 0.5).label_map
            for given in (frame, torch.from_numpy(frame).cuda()):
                assert (model(given, 0.5).label_map == wanted).mean() > 0.99
