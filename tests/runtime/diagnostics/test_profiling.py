from __future__ import annotations

from pathlib import Path

import pytest

from sparsevit_runtime.diagnostics import ProfileReport, profile
from sparsevit_runtime.errors import PlanError
from sparsevit_runtime.model import load
from told import Told

STREET = "synthetic://street?size=96x64&frames=3"


def test_what_is_reported(tiny_model):
    with load(tiny_model(), threads=1) as model:
        report = profile(model, ["0", "0.5"], file="folder/m.onnx", iterations=4, warm_up=1, source=STREET)
    assert (report.model.name, report.model.file, report.settings.threads) == ("tiny", "m.onnx", "1")
    assert report.settings.frame_wh == (96, 64) and report.power is None
    dense, half = report.entries
    assert (dense.sparsity, dense.time_ratio, dense.mac_ratio, dense.above_floor) == ("dense", 1.0, 1.0, 0.0)
    assert (half.sparsity, half.keep, half.window_share) == ("0.5", (12, 3, 3), 0.5)
    assert half.above_floor == pytest.approx(half.time_ratio - half.mac_ratio, abs=2e-4)
    for entry in report.entries:
        assert all(stats.count == 4 for stats in entry.stages.values())
        parts = sum(entry.stages[name].mean for name in ("preprocess", "inference", "postprocess"))
        assert entry.stages["total"].mean == pytest.approx(parts, rel=1e-3)


def test_without_a_sweep_it_is_the_dense_run_or_the_plan_of_a_fixed_export(tiny_model):
    fixed = tiny_model("fixed", fixed=((0.5, 0.5), (0.0, 0.0, 0.0, 0.0)))
    for path, label in ((tiny_model(), "dense"), (fixed, "fixed")):
        with load(path, threads=1) as model:
            (entry,) = profile(model, iterations=1, warm_up=0, source=STREET).entries
        assert entry.sparsity == label
    with load(fixed, threads=1) as model, pytest.raises(PlanError, match="has one plan only"):
        profile(model, ["0", "0.5"], iterations=1, source=STREET)


def test_normalising_is_said_to_be_timed(tiny_model):
    with load(tiny_model(layout="normalized"), threads=1) as model:
        report = profile(model, ["0"], iterations=1, warm_up=0, source=STREET)
    assert "normalising the images in NumPy" in report.timed_region


def test_every_round_runs_every_sparsity_once(tiny_model):
    told = Told()
    with load(tiny_model(), threads=1) as model:
        runs = []
        batch = model.batch
        model.batch = lambda images, level: runs.append(level.plan.ratios[0][0]) or batch(images, level)
        profile(
            model,
            ["0", "0.3", "0.7"],
            iterations=6,
            warm_up=2,
            source=STREET,
            progress=told,
        )
    assert told.pieces == [("measuring", 8)] and told.done == list(range(1, 9))
    by_round = [tuple(runs[i : i + 3]) for i in range(0, len(runs), 3)]
    assert len(by_round) == 8
    assert all(sorted(r) == [0.0, 0.3, 0.7] for r in by_round)
    assert len(set(by_round)) > 1  # not always in the same order


def test_a_model_that_takes_a_matrix_with_each_frame_is_given_zeros(tiny_model):
    with load(tiny_model(matrix=True), threads=1) as model:
        report = profile(model, ["0", "0.5"], iterations=1, warm_up=0, batch=2, source=STREET)
    assert [entry.keep for entry in report.entries] == [(24, 6, 6), (12, 3, 3)]


def test_the_published_profile_is_of_this_schema():
    path = Path(__file__).parents[3] / "benchmarks" / "results" / "profile_street_scenes.json"
    report = ProfileReport.model_validate_json(path.read_text())
    assert report.settings.device == "cpu" and {"dense", "0.6"} <= {entry.sparsity for entry in report.entries}


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"warm_up": -1}, {"batch": 0}])
def test_nothing_to_measure(tiny_model, wrong):
    with load(tiny_model(), threads=1) as model, pytest.raises(ValueError, match="at least one round and image"):
        profile(model, source=STREET, **wrong)


def test_a_plan_that_does_not_fit(tiny_model):
    with load(tiny_model(), threads=1) as model, pytest.raises(PlanError, match="3 stages"):
        profile(model, ["0", "[0,0,0]"], iterations=1, source=STREET)
