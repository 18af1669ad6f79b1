"""`sparsevit check --against`: what is printed. What agrees: tests/runtime/diagnostics/test_comparing.py."""

from __future__ import annotations

import numpy as np
import pytest

from altered_models import with_weight
from engine_folder import EngineFolder, beside
from sparsevit_runtime.backends import open_backend
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.diagnostics import CheckReport, ComparisonReport


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


@pytest.fixture
def altered(exported, tmp_path):
    """The model with one class everywhere, which it does not answer now."""
    backend = open_backend(exported.path)
    labels = backend.run(feeds_of(np.zeros((1, 48, 64, 3), np.uint8)), ["labels"])["labels"]
    backend.close()
    another = 99 * (np.arange(3) == (labels[0, 0, 0] + 1) % 3)
    return with_weight(exported.path, tmp_path / "altered.onnx", "head.classify.bias", lambda b: another)


def test_an_altered_weight_is_told_in_one_line(sparsevit, exported, altered):
    said = sparsevit("check", altered, "--against", exported.path)
    assert said.code == 1
    assert "differs" in said.out and "labels is the worst" in said.err and "of it agrees, 99.9% must" in said.err
    assert "altered.onnx on onnxruntime" in said.err and "does not compute what small.onnx does: labels is" in said.err
    code, report, err = compare(sparsevit, altered, "--against", exported.path)
    assert code == 1 and not report.agrees and report.worst.tensor == "labels"
    assert err.count("\n") == 1


def test_what_cannot_be_compared(sparsevit, tiny_model):
    said = sparsevit("check", tiny_model("one"), "--against", tiny_model("other", hw=(64, 48)))
    assert said.code == 1 and "not the same network at the same size: input" in said.err and said.err.count("\n") == 1


def test_what_to_compare_with_must_be_a_model_file(sparsevit, tiny_model, tmp_path):
    model = tiny_model("one")
    said = sparsevit("check", model, "--against", tmp_path / "none.onnx")
    assert said.code == 1 and "no model file" in said.err
    engine = tmp_path / "other.engine"
    engine.write_bytes(b"engine")
    said = sparsevit("check", model, "--against", engine)
    assert said.code == 1 and "load the .onnx file it was built from" in said.err


@pytest.fixture
def engines(tmp_path, monkeypatch):
    folder = tmp_path / "engines"
    folder.mkdir()
    return EngineFolder(folder, monkeypatch)


def test_an_engine_is_compared_with_the_file_beside_it_that_it_was_built_from(sparsevit, exported, engines):
    engine = engines.write(exported.path, exported.path, batch=(2, 4, 8))
    engine.with_name("m.onnx").write_bytes(b"another file of its name")
    source = beside(engine, exported.path, "small.onnx")
    code, report, err = compare(sparsevit, engine)
    assert code == 0, err
    assert f"comparing with {source}, which m.engine was built from" in err
    assert (report.model, report.against) == ("m.engine", "small.onnx")
    assert report.runs == ("dense, batch 2", "30% pruned, batch 4", "60% pruned, batch 2")
    assert report.library == "tensorrt 10.3.0" and report.against_device == "cpu"


def test_an_engine_that_computes_something_else(sparsevit, exported, engines, altered):
    engine = engines.write(altered, exported.path)
    beside(engine, exported.path, "m.onnx")
    code, report, err = compare(sparsevit, engine)
    assert code == 1 and report.worst.tensor == "labels"
    assert "does not compute what m.onnx does: labels is the worst" in err and "--portable" in err


@pytest.mark.parametrize("wrong", [False, True])
def test_without_the_file_samples_recorded_at_export_are_compared(sparsevit, exported, engines, altered, wrong):
    engine = engines.write(altered if wrong else exported.path, exported.path, batch=(2, 2, 2))
    said = sparsevit("check", engine, "--json")
    assert "is not beside it: comparing samples recorded at export; --against FILE" in said.err
    report = CheckReport.model_validate_json(said.out)
    assert report.kind == "recorded"
    assert (report.agrees, said.code) == (not wrong, int(wrong)), said.err
    if wrong:
        assert report.worst.output == "labels"
