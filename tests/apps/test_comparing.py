"""`sparsevit check --against`: files whose weights or answers were altered, and engines on a simulated GPU."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from altered_models import card_of, with_not_a_number, with_weight
from networks import randomize
from runtime.backends.test_tensorrt import write_engine
from simulated_gpu import Cuda, simulated_tensorrt
from sparsevit_apps.checking import CheckReport
from sparsevit_apps.comparing import ComparisonReport, compare_run
from sparsevit_exporter import ExportOptions, SparseViT, export
from sparsevit_runtime.backends import open_backend, tensorrt
from sparsevit_runtime.card import CARD_KEY
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.cuda import CudaRuntime
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.tensorrt import read_sidecar, sidecar_path
from sparsevit_runtime.tensorrt.engine_card import sha256
from sparsevit_runtime.tensorrt.profile import make_profile
from sparsevit_runtime.windows.plan import Plan, dense_keep


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A very small backbone, always the same, 96x128 pixels."""
    path = tmp_path_factory.mktemp("features") / "features.onnx"
    torch.manual_seed(0)
    assert export(randomize(SparseViT(8, (2, 1, 2, 1), (1, 1, 2, 2)), seed=5), path, ExportOptions(96, 128)).holds
    return path


def compare(sparsevit, *arguments):
    """Exit code, report and stderr of `sparsevit check ... --json`."""
    said = sparsevit("check", *arguments, "--json")
    return said.code, ComparisonReport.model_validate_json(said.out), said.err


def test_equal_files_agree(sparsevit, exported):
    said = sparsevit("check", exported.path, "--against", exported.path, "--threads", 1)
    assert said.code == 0, said.err
    last = said.out.splitlines()[-1]
    assert last.startswith("small.onnx on onnxruntime") and "computes what small.onnx does; the worst is" in last
    code, report, _ = compare(sparsevit, exported.path, "--against", exported.path)
    assert code == 0 and report.agrees and report.precision == "fp32"
    assert report.runs == ("dense, batch 1", "30% pruned, batch 2", "60% pruned, batch 1")
    backend = open_backend(exported.path)
    assert sorted(row.tensor for row in report.tensors) == sorted(backend.output_names)
    backend.close()
    assert said.out.count("│ agrees │") == len(report.tensors)


@pytest.mark.parametrize(
    ("weight", "change", "worst", "problem"),
    [
        ("norms.1.weight", lambda w: w * 1.01, "stage1", "of its scale, 0.001 is accepted"),
        ("norms.2.bias", lambda b: np.where(np.arange(b.size) == 5, np.nan, b), "stage2", "values are not finite"),
        ("norms.3.bias", lambda b: np.where(np.arange(b.size) == 0, np.inf, b), "stage3", "values are not finite"),
    ],
)
def test_an_altered_weight_is_found_and_its_tensor_named(sparsevit, features, tmp_path, weight, change, worst, problem):
    altered = with_weight(features, tmp_path / "altered.onnx", weight, change)
    code, report, err = compare(sparsevit, altered, "--against", features)
    assert code == 1 and not report.agrees
    assert report.worst.tensor == worst and problem in report.worst.problem
    assert [row.tensor for row in report.tensors if not row.agrees] == [worst]  # and nothing else
    assert "altered.onnx on onnxruntime" in err and f"does not compute what features.onnx does: {worst} is" in err
    assert err.count("\n") == 1


def test_labels_are_compared(sparsevit, exported, tmp_path):
    backend = open_backend(exported.path)
    labels = backend.run(feeds_of(np.zeros((1, 48, 64, 3), np.uint8)), ["labels"])["labels"]
    backend.close()
    another = 99 * (np.arange(3) == (labels[0, 0, 0] + 1) % 3)  # one class everywhere, which it is not now
    altered = with_weight(exported.path, tmp_path / "a.onnx", "classify.bias", lambda b: another)
    said = sparsevit("check", altered, "--against", exported.path)
    assert said.code == 1
    assert "differs" in said.out and "labels is the worst" in said.err and "of it agrees, 99.9% must" in said.err


def test_window_orders_are_compared(sparsevit, features, tmp_path):
    spread = np.linspace(-9, 9, 8)
    altered = with_weight(features, tmp_path / "a.onnx", "patch_embed.norm.bias", lambda b: spread)
    _, report, _ = compare(sparsevit, altered, "--against", features)
    assert {"windows0", "stage0"} <= {row.tensor for row in report.tensors if not row.agrees}


def test_other_images_are_taken_only_where_other_windows_were_computed(features, tmp_path):
    spread = np.linspace(-9, 9, 8)
    altered = with_weight(features, tmp_path / "a.onnx", "patch_embed.norm.bias", lambda b: spread)
    taken = []

    def images():
        for seed in range(3):
            taken.append(seed)
            yield probe_image(96, 128, seed)[None]

    reference, other = open_backend(features), open_backend(altered)
    keep = Plan.uniform(0.6, reference.card.windows.depths).keep(reference.card.stages)
    outputs = ["stage0", "stage3"]
    for candidate, plan, right, count in ((reference, keep, True, 1), (other, keep, False, 3), (other, None, False, 1)):
        taken.clear()
        plan = dense_keep(reference.card.stages) if plan is None else plan
        rows = compare_run(candidate, reference, images(), plan, outputs, "fp32", "a plan")
        assert [row.tensor for row in rows] == outputs  # of one of the images taken
        assert all(row.agrees == right for row in rows)
        assert len(taken) == count
    reference.close()
    other.close()


def test_one_value_that_is_no_number_is_found_wherever_it_is(sparsevit, features, tmp_path):
    record = next(o for o in card_of(features).checks[0].outputs if o.name == "stage0")
    position = next(p for p in range(int(np.prod(record.shape))) if p not in record.positions)
    broken = with_not_a_number(features, tmp_path / "broken.onnx", "stage0", position)
    code, report, err = compare(sparsevit, broken, "--against", features)
    assert code == 1 and report.worst.tensor == "stage0"
    assert "1 of its 6144 values are not finite" in err
    said = sparsevit("check", broken)  # not among the values recorded, either
    assert said.code == 1 and "1 of its 6144 values are not finite" in said.err


def test_half_precision_has_limits_of_its_own(sparsevit, features, tmp_path):
    near = with_weight(features, tmp_path / "near.onnx", "norms.1.weight", lambda w: w * 1.003)
    assert compare(sparsevit, near, "--against", features)[0] == 1
    proto = onnx.load(near)
    helper.set_model_props(proto, {CARD_KEY: card_of(near).model_copy(update={"precision": "fp16"}).to_json()})
    half = tmp_path / "half.onnx"
    onnx.save(proto, half)
    for one, other in ((half, features), (features, half)):
        code, report, err = compare(sparsevit, one, "--against", other)
        assert (code, report.precision) == (0, "fp16"), err


def test_fixed_plans_and_detectors(sparsevit, tiny_model, tmp_path):
    fixed = tiny_model("fixed", fixed=((0.5, 0.5), (0.0, 0.0, 0.5, 0.5)), layout="normalized")
    code, report, err = compare(sparsevit, fixed, "--against", fixed)
    assert code == 0, err
    assert report.runs == ("fixed plan, batch 1", "fixed plan, batch 2")
    boxes = [(1.0, 2.0, 30.0, 20.0), (3.0, 4.0, 9.0, 8.0)]
    detector = {"task": "detection", "scores": [0.9, 0.5], "classes": [1, 2]}
    right = tiny_model("right", boxes=boxes, **detector)
    wrong = tiny_model("wrong", boxes=[(1.0, 2.0, 30.0, 29.0), boxes[1]], **detector)
    assert compare(sparsevit, right, "--against", right)[0] == 0
    code, report, _ = compare(sparsevit, wrong, "--against", right)
    assert code == 1 and report.worst.tensor == "boxes"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hw": (64, 48)}, "not the same network at the same size: input"),
        ({"layout": "normalized"}, "not the same network at the same size: input"),
        ({"task": "backbone"}, "not the same network at the same size: task segmentation against backbone"),
        ({"fixed": ((0.5, 0.5), (0.0, 0.0, 0.5, 0.5))}, "not the same network at the same size: windows"),
    ],
)
def test_what_cannot_be_compared(sparsevit, tiny_model, given, message):
    said = sparsevit("check", tiny_model("one"), "--against", tiny_model("other", **given))
    assert said.code == 1 and message in said.err and said.err.count("\n") == 1


def test_what_to_compare_with_must_be_a_model_file(sparsevit, tiny_model, tmp_path):
    model = tiny_model("one")
    said = sparsevit("check", model, "--against", tmp_path / "none.onnx")
    assert said.code == 1 and "no model file" in said.err
    engine = tmp_path / "other.engine"
    engine.write_bytes(b"engine")
    said = sparsevit("check", model, "--against", engine)
    assert said.code == 1 and "load the .onnx file it was built from" in said.err


class EngineFolder:
    """A folder with an engine, whose answers are those of a model file, on a simulated GPU."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._monkeypatch = folder, monkeypatch

    def write(self, answers: Path, source: Path, batch: tuple[int, int, int] = (1, 1, 1), **inputs: object) -> Path:
        """An engine whose card says that it was built from `source` for batches of this size."""
        cuda = Cuda()
        self._monkeypatch.setitem(sys.modules, "tensorrt", simulated_tensorrt(cuda, answers, (batch[0], batch[2])))
        self._monkeypatch.setattr(tensorrt, "open_cuda", lambda: CudaRuntime(cuda))
        engine = write_engine(self._folder / "m.engine", card_of(answers))
        card = read_sidecar(engine)
        profile = make_profile(card.model, batch)
        about = card.inputs.model_copy(
            update={"onnx_sha256": sha256(source.read_bytes()), "profile": profile, **inputs}
        )
        sidecar_path(engine).write_text(card.model_copy(update={"inputs": about}).model_dump_json())
        return engine


@pytest.fixture
def engines(tmp_path, monkeypatch):
    folder = tmp_path / "engines"
    folder.mkdir()
    return EngineFolder(folder, monkeypatch)


def beside(engine: Path, model: Path, name: str) -> Path:
    return Path(shutil.copy(model, engine.with_name(name)))


def test_an_engine_is_compared_with_the_file_beside_it_that_it_was_built_from(sparsevit, exported, engines):
    engine = engines.write(exported.path, exported.path, batch=(2, 4, 8))
    engine.with_name("m.onnx").write_bytes(b"another file of its name")
    source = beside(engine, exported.path, "small.onnx")
    code, report, err = compare(sparsevit, engine)
    assert code == 0, err
    assert f"comparing with {source}, which m.engine was built from" in err
    assert (report.model, report.against) == ("m.engine", "small.onnx")
    assert report.runs == ("dense, batch 2", "30% pruned, batch 4", "60% pruned, batch 2")
    assert report.library == "tensorrt 10.3.0" and report.against_processor == "cpu"


def test_an_engine_that_computes_something_else(sparsevit, features, engines, tmp_path):
    altered = with_weight(features, tmp_path / "altered.onnx", "norms.1.weight", lambda w: w * 1.01)
    engine = engines.write(altered, features)
    beside(engine, features, "m.onnx")
    code, report, err = compare(sparsevit, engine)
    assert code == 1 and report.worst.tensor == "stage1"
    assert "does not compute what m.onnx does: stage1 is the worst" in err and "--portable" in err


def test_only_what_a_graph_replays_is_wrong(sparsevit, exported, engines, monkeypatch):
    """The first run is right. From the second on the engine answers what it answered before."""
    engine = engines.write(exported.path, exported.path)
    beside(engine, exported.path, "m.onnx")
    monkeypatch.setattr(Cuda, "cudaGraphLaunch", lambda self, graph, stream: None)
    code, report, _ = compare(sparsevit, engine)
    assert code == 1 and not report.agrees


def test_tf32_has_the_limits_of_half_precision(sparsevit, features, engines, tmp_path):
    near = with_weight(features, tmp_path / "near.onnx", "norms.1.weight", lambda w: w * 1.003)
    engine = engines.write(near, features)
    code, report, _ = compare(sparsevit, engine, "--against", features)
    assert (code, report.precision) == (1, "fp32")
    engine = engines.write(near, features, tf32=True)
    code, report, _ = compare(sparsevit, engine, "--against", features)
    assert (code, report.precision) == (0, "fp16")


@pytest.mark.parametrize("wrong", [False, True])
def test_without_the_file_samples_recorded_at_export_are_compared(sparsevit, features, engines, tmp_path, wrong):
    answers = features
    if wrong:
        answers = with_weight(features, tmp_path / "altered.onnx", "norms.1.weight", lambda w: w * 1.5)
    engine = engines.write(answers, features, batch=(2, 2, 2))
    said = sparsevit("check", engine, "--json")
    assert "is not beside it: comparing samples recorded at export; --against FILE" in said.err
    report = CheckReport.model_validate_json(said.out)
    assert report.kind == "recorded"
    assert (report.agrees, said.code) == (not wrong, int(wrong)), said.err
    if wrong:
        assert report.worst.output == "stage1"
