from __future__ import annotations

import json

import pytest

import tiny
from simulated_engines import write_engine
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.diagnostics import InspectReport
from sparsevit_runtime.graph.onnx_file import read_onnx
from sparsevit_runtime.model import bundled_models
from sparsevit_runtime.tensorrt.engine_card import sidecar_path


def test_tables(sparsevit, exported):
    said = sparsevit("inspect", exported.path)
    assert said.code == 0, said.err
    words = " ".join(said.out.split())
    for expected in (
        "small.onnx",
        "segmentation",
        "64 wide, 48 high",
        "(batch, 48, 64, 3) uint8 BGR",
        "keep, 4 counts",
        "3x2 = 6",  # windows of the first stage: 16x12 tokens
        "0 road",
        "2 tree",
        "mIoU",
        "41.5%",
        "40.25%",
        "CC0",
        "3 probe runs",
    ):
        assert expected in words, expected
    assert "stretched" not in words


def test_what_becomes_of_frames_is_said(sparsevit, tiny_model):
    said = sparsevit("inspect", tiny_model(resize="stretch"))
    assert said.code == 0 and "uint8 BGR, frames stretched" in " ".join(said.out.split())


def test_json(sparsevit, exported):
    report = InspectReport.model_validate_json(sparsevit("inspect", exported.path, "--json").out)
    assert report.schema_version == 1
    assert report.file_bytes == exported.path.stat().st_size
    assert [s.windows for s in report.stages] == [6, 2, 1, 1]
    assert [s.pixels for s in report.stages] == [28, 56, 112, 224]
    assert [s.pairs for s in report.stages] == [1, 1, 1, 1]
    assert [c.sparsity for c in report.costs] == [0.0, 0.3, 0.5, 0.6, 0.7]
    assert report.costs[0].share == 1.0
    assert report.costs[2].keep == (3, 1, 0, 0)
    assert all(a.macs > b.macs for a, b in zip(report.costs, report.costs[1:]))
    assert report.card.class_names == ("road", "car", "tree")
    assert tuple(report.nodes.counts) == read_onnx(exported.path).nodes
    assert all(count > 0 for count in report.nodes.counts.values()) and report.nodes.custom_ops


def test_nodes_that_custom_ops_run(sparsevit, exported, tmp_path, monkeypatch):
    library = tmp_path / "ops.so"
    library.write_bytes(b"\x7fELF sparsevit-ort api=18 cudart=13000 architectures=87 nodes=NmsKeep;")
    monkeypatch.setenv("SPARSEVIT_ORT_OPS", str(library))
    said = sparsevit("inspect", exported.path)
    assert "no node of this file (ops.so); " in " ".join(said.out.split())
    assert "as portable bodies" in " ".join(said.out.split())


def test_fixed_plan_with_unequal_pairs(sparsevit, tiny_model):
    fixed = ((0.0, 0.5), (0.25, 0.25, 0.5, 0.5))
    model = tiny_model(fixed=fixed)
    said = sparsevit("inspect", model)
    assert said.code == 0, said.err
    assert "frozen into the graph" in said.out
    assert "0% 50%" in said.out
    (cost,) = InspectReport.model_validate_json(sparsevit("inspect", model, "--json").out).costs
    assert (cost.sparsity, cost.keep) == (None, None)
    assert 0 < cost.share < 1


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_without_a_model_lists_the_bundled_ones(sparsevit, options):
    said = sparsevit("inspect", *options)
    assert said.code == 0
    if options:
        assert json.loads(said.out) == {name: str(path) for name, path in bundled_models().items()}
    else:
        assert all(name in said.out for name in bundled_models()) and "undled" in said.out


def test_an_engine_is_described_where_it_cannot_run(sparsevit, tmp_path):
    """By its side-car: neither TensorRT nor a GPU is needed, and nothing of the engine is loaded."""
    engine = write_engine(tmp_path / "m.engine", ModelCard.model_validate(tiny.card_document()), gpu="Orin 8.7")
    said = sparsevit("inspect", engine)
    assert said.code == 0, said.err
    words = " ".join(said.out.split())
    assert "tensorrt 10.3.0" in words and "Orin 8.7" in words and "segmentation" in words
    report = InspectReport.model_validate_json(sparsevit("inspect", engine, "--json").out)
    assert report.engine.gpu == "Orin 8.7" and report.outputs[0] == "labels"
    sidecar_path(engine).unlink()
    said = sparsevit("inspect", engine)
    assert said.code == 1 and "keep both files together" in said.err
