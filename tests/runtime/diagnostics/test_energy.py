"""Energy per frame under a meter whose files say ten watts, whatever runs."""

from __future__ import annotations

import pytest

import sensor_trees as trees
from sparsevit_runtime.diagnostics import find_meter, profile
from sparsevit_runtime.diagnostics.energy import idle_watts, measure_energy
from sparsevit_runtime.diagnostics.frames import read_frames
from sparsevit_runtime.model import load
from sparsevit_runtime.power import open_meter

STREET = "synthetic://street?size=96x64&frames=3"


@pytest.fixture
def meter(tmp_path):
    meter = open_meter(trees.write(tmp_path / "root", {**trees.board(), **trees.ORIN_NX}))
    yield meter
    meter.close()


@pytest.fixture
def model(tiny_model):
    with load(tiny_model(), threads=1) as loaded:
        yield loaded


def test_every_sparsity_is_run_twice_the_second_time_in_reverse(model, meter):
    _, frames = read_frames(STREET)
    runs = []
    batch = model.batch
    model.batch = lambda images, sparsity: runs.append((sparsity, len(images))) or batch(images, sparsity)
    first, second = measure_energy(model, frames, ["0", "0.6"], meter, seconds=0.2, batch=2, idle=4.0)
    changes = [sparsity for i, (sparsity, _) in enumerate(runs) if i == 0 or runs[i - 1][0] != sparsity]
    assert changes == ["0", "0.6", "0"]
    assert {count for _, count in runs} == {2}
    for use, sparsity in ((first, "0"), (second, "0.6")):
        warm_up = 2 * 2  # one run before each of the two stretches
        assert use.frames == sum(count for s, count in runs if s == sparsity) - warm_up > 0
        assert use.seconds == pytest.approx(0.2, abs=0.15)
        assert use.mean_watts == pytest.approx(10.0, rel=1e-3)
        assert use.mj_per_frame == pytest.approx(10.0 * use.seconds * 1e3 / use.frames, rel=1e-2)
        assert use.mj_above_idle == pytest.approx(0.6 * use.mj_per_frame, rel=1e-2)
        assert use.clocks_mhz["17000000.gpu"] == (918, 918) and use.throttled == {} and use.problem is None


def test_a_profile_with_a_meter(model, meter):
    report = profile(model, ["0"], iterations=1, source=STREET, meter=meter, energy_seconds=0.1, no_meter="not shown")
    assert (report.power.meter, report.power.scope) == ("Jetson INA sensors", "VDD_IN")
    assert report.power.idle_watts == pytest.approx(10.0) and report.power_note == ""
    assert report.entries[0].energy.mean_watts == pytest.approx(10.0, rel=1e-3)


def test_a_profile_without_one_says_why(model):
    report = profile(model, ["0"], iterations=1, source=STREET, no_meter="no energy figures, there is no power meter")
    assert report.power is None and report.entries[0].energy is None
    assert report.power_note == "no energy figures, there is no power meter"


def test_idle_power(meter):
    assert idle_watts(meter, seconds=0.1) == pytest.approx(10.0)


def test_the_meter_of_this_machine_or_the_reasons_why_there_is_none(model):
    meter, why = find_meter(model)
    assert (meter is None) == bool(why)
    if meter is None:
        assert ("no Jetson power rails" in why and "RAPL" in why) or "root only" in why
    else:
        meter.close()
