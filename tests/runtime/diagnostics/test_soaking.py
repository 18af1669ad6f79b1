from __future__ import annotations

import pytest

import sensor_trees as trees
from sparsevit_runtime.diagnostics import Soak, SoakReport
from sparsevit_runtime.errors import PlanError
from sparsevit_runtime.model import load
from sparsevit_runtime.power import open_meter
from told import Told

pytestmark = pytest.mark.timed

STREET = "synthetic://street?size=96x64&frames=3"


@pytest.fixture
def model(tiny_model):
    with load(tiny_model(), threads=1) as loaded:
        yield loaded


def test_a_soak_in_intervals(model):
    soak = Soak(model, "0.5", file="m.onnx", batch=2, source=STREET)
    assert soak.report() is None
    told = Told()
    soak.run(0.4, told)
    report = soak.report()
    assert (report.sparsity, report.keep, report.batch, report.stopped) == ("0.5", (12, 3, 3), 2, False)
    assert report.seconds_asked == 0.4 <= report.seconds + 1e-3
    assert len(report.intervals) == 4
    assert report.frames == sum(interval.use.frames for interval in report.intervals)
    assert all(interval.use.frames == 2 * interval.latency.count > 0 for interval in report.intervals)
    starts = [interval.start_s for interval in report.intervals]
    assert starts == sorted(starts) and starts[0] < 0.1
    first, last = report.intervals[0], report.intervals[-1]
    assert report.drift == pytest.approx(last.latency.p50 / first.latency.p50 - 1, abs=1e-3)
    assert report.memory_growth_mb == pytest.approx(last.resident_mb - first.resident_mb, abs=0.01)
    assert told.pieces == [("soaking, s", 0.4)] and told.done == sorted(told.done) and told.done[-1] >= 0.4
    assert set(told.notes) == {f"p50 {interval.latency.p50:.2f} ms" for interval in report.intervals[:-1]}
    assert report.power is None and SoakReport.model_validate_json(report.model_dump_json()) == report


def test_stopped_at_any_moment_it_still_reports(model):
    soak, runs = Soak(model, source=STREET), []
    batch = model.batch

    def stopped_in_the_third_run(images, sparsity):
        runs.append(sparsity)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return batch(images, sparsity)

    model.batch = stopped_in_the_third_run
    with pytest.raises(KeyboardInterrupt):
        soak.run(600)
    report = soak.report()
    assert (report.frames, report.stopped, report.sparsity) == (2, True, "dense")
    assert (report.drift, report.memory_growth_mb) == (None, None)  # of one interval


def test_what_holds_the_clocks_back_is_told(model, tmp_path):
    files = {**trees.board(), **trees.ORIN_NX, "class/thermal/cooling_device1/cur_state": 1}
    meter = open_meter(trees.write(tmp_path / "root", files))
    soak = Soak(model, source=STREET, meter=meter, warm_up=1)
    soak.run(0.4)
    report = soak.report()
    meter.close()
    assert (report.power.meter, report.power.idle_watts) == ("Jetson INA sensors", 10.0)
    assert report.throttled == {"gpu-throttle-alert": pytest.approx(report.seconds, abs=0.05)}
    assert all(interval.use.throttled == {"gpu-throttle-alert": 1.0} for interval in report.intervals)


def test_a_plan_that_does_not_fit(model):
    with pytest.raises(PlanError, match="3 stages"):
        Soak(model, "[0,0,0]", source=STREET)
