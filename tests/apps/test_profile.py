from __future__ import annotations

import cv2
import numpy as np
import pytest

from sparsevit_apps.profiling.plot import plot_profile
from sparsevit_runtime.diagnostics import ProfileReport, profile
from sparsevit_runtime.model import load

STREET = "synthetic://street?size=96x64&frames=3"


def test_tables_json_and_plot(sparsevit, exported, tmp_path):
    files = (tmp_path / "p.json", tmp_path / "p.png")
    said = sparsevit(
        "profile", exported.path, "--sweep", "0.3,0.6", "--iterations", 4, "--warm-up", 1, "--source", STREET,
        "--threads", 1, "--json", files[0], "--plot", files[1],
    )  # fmt: skip
    assert said.code == 0, said.err
    words = " ".join(said.out.split())
    for expected in (
        "dense",
        "30%",
        "60%",
        "p99",
        "CoV",
        "preprocess",
        "frames/s",
        "Wall time of one frame",
        "governor",
    ):
        assert expected in words, expected

    report = ProfileReport.model_validate_json(files[0].read_text())
    assert report.schema_version == 2
    assert [e.sparsity for e in report.entries] == ["dense", "0.3", "0.6"]
    assert [e.keep for e in report.entries] == [(6, 2, 1, 1), (4, 1, 0, 0), (2, 0, 0, 0)]
    assert report.settings.threads == "1"
    assert report.settings.frame_wh == (96, 64)
    assert report.model.input_hw == (48, 64)
    dense = report.entries[0]
    assert (dense.time_ratio, dense.mac_ratio, dense.above_floor, dense.window_share) == (1.0, 1.0, 0.0, 1.0)
    for entry in report.entries:
        assert entry.above_floor == pytest.approx(entry.time_ratio - entry.mac_ratio, abs=2e-4)
        assert all(stats.count == 4 for stats in entry.stages.values())
        parts = sum(entry.stages[name].mean for name in ("preprocess", "inference", "postprocess"))
        assert entry.stages["total"].mean == pytest.approx(parts, rel=1e-3)

    picture = cv2.imread(str(files[1]))
    assert picture.shape[1] > 1000
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_batch_and_plan_file(sparsevit, tiny_model, tmp_path):
    (tmp_path / "plan.json").write_text('{"schema": 1, "ratios": [[0.5, 0.5], [0, 0, 0, 0]]}')
    out = tmp_path / "p.json"
    said = sparsevit(
        "profile", tiny_model(), "--sweep", tmp_path / "plan.json", "--iterations", 2, "--warm-up", 0, "--batch", 3,
        "--source", STREET, "--json", out,
    )  # fmt: skip
    assert said.code == 0, said.err
    report = ProfileReport.model_validate_json(out.read_text())
    assert report.settings.batch == 3
    assert "3 frames in one run" in report.timed_region
    assert [e.keep for e in report.entries] == [(24, 6, 6), (12, 6, 6)]


def test_fixed_export_has_one_plan_and_no_dense_run(sparsevit, tiny_model, tmp_path):
    fixed = tiny_model(fixed=((0.5, 0.5), (0.0, 0.0, 0.0, 0.0)))
    out = tmp_path / "p.json"
    line = ("profile", fixed, "--iterations", 2, "--source", STREET)
    assert sparsevit(*line, "--json", out, "--plot", tmp_path / "p.png").code == 0
    (entry,) = ProfileReport.model_validate_json(out.read_text()).entries
    assert (entry.sparsity, entry.time_ratio, entry.above_floor) == ("fixed", None, None)
    assert entry.mac_ratio < 1
    said = sparsevit(*line, "--sweep", "0,0.5")
    assert said.code == 1
    assert "leave --sweep out" in said.err


def test_plot_of_a_single_entry(tiny_model):
    with load(tiny_model(), threads=1) as model:
        report = profile(model, ["0"], file="m.onnx", iterations=1, source=STREET)
    picture = cv2.imdecode(np.frombuffer(plot_profile(report), np.uint8), cv2.IMREAD_COLOR)
    assert 400 < picture.shape[1] < 1000  # one panel: there is nothing to compare
