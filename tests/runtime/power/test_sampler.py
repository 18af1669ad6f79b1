from __future__ import annotations

import threading
import time

import pytest

import sensor_trees as trees
from sparsevit_runtime.power import Energy, EnergySampler, PowerReading, open_meter

pytestmark = pytest.mark.timed


def watts(*values):
    return [(float(i), PowerReading(watts=w)) for i, w in enumerate(values)]


@pytest.mark.parametrize(
    ("samples", "joules", "mean"),
    [
        ([], None, None),
        (watts(5.0), None, None),
        (watts(4.0, 4.0, 4.0), 8.0, 4.0),
        (watts(0.0, 10.0), 5.0, 5.0),
        ([(0.0, PowerReading(watts=2.0)), (3.0, PowerReading(watts=4.0)), (4.0, PowerReading(watts=4.0))], 13.0, 3.25),
        ([(0.0, PowerReading(joules=7.0)), (2.0, PowerReading(joules=17.0))], 10.0, 5.0),
        ([(0.0, PowerReading(watts=50.0, joules=7.0)), (2.0, PowerReading(watts=50.0, joules=17.0))], 10.0, 5.0),
        (watts(1.0, None, 1.0), None, None),
        ([(0.0, PowerReading()), (1.0, PowerReading())], None, None),
    ],
)
def test_energy_of_samples(samples, joules, mean):
    energy = Energy.of(samples)
    assert (energy.joules, energy.mean_watts, energy.samples) == (joules, mean, len(samples))


def test_ranges_and_reasons():
    readings = [
        PowerReading(1.0, None, {"gpu": 900.0}, {"gpu": 50.0}),
        PowerReading(1.0, None, {"gpu": 600.0, "cpu": 1.0}, {}, "hot, power limit"),
        PowerReading(1.0, None, {}, {"gpu": 61.0}, "hot"),
        PowerReading(1.0),
    ]
    energy = Energy.of([(float(i), reading) for i, reading in enumerate(readings)])
    assert energy.clocks_mhz == {"gpu": (600, 900), "cpu": (1, 1)}
    assert energy.temperatures_c == {"gpu": (50, 61)}
    assert energy.throttled == {"hot": 0.5, "power limit": 0.25}


def test_sampling_a_board(tmp_path):
    meter = open_meter(trees.write(tmp_path, {**trees.board(), **trees.ORIN_NX}))
    with EnergySampler(meter, rate_hz=200) as sampler:
        time.sleep(0.1)
    energy = sampler.energy
    assert energy.samples >= 3
    assert energy.mean_watts == pytest.approx(10.0)
    assert energy.joules == pytest.approx(10.0 * energy.seconds)
    assert energy.problem is None
    sampler.close()
    assert sampler.energy == energy
    assert meter.read().watts == 10.0  # stays open
    assert "energy" not in {thread.name for thread in threading.enumerate()}


def test_a_block_shorter_than_the_period_has_both_ends(tmp_path):
    trees.write(tmp_path, trees.rapl(1_000_000))
    with EnergySampler(open_meter(tmp_path, kind="cpu"), rate_hz=0.01) as sampler:
        trees.write(tmp_path, trees.rapl(3_000_000))
    assert (sampler.energy.samples, sampler.energy.joules) == (2, 2.0)


@pytest.mark.parametrize("before", [True, False])
def test_a_meter_that_vanishes_is_a_problem_and_no_crash(tmp_path, before):
    meter = open_meter(trees.write(tmp_path, trees.ORIN_NX))
    sensor = tmp_path / "sys/class/hwmon/hwmon1/in1_input"
    if before:
        sensor.unlink()
    with EnergySampler(meter, rate_hz=500) as sampler:
        if not before:
            sensor.unlink()
    assert "VDD_IN cannot be read any more" in sampler.energy.problem
    assert sampler.energy.samples == (0 if before else sampler.energy.samples)


@pytest.mark.parametrize("rate", [0, -1.0, float("nan")])
def test_a_rate_that_is_none(tmp_path, rate):
    with pytest.raises(ValueError, match="above zero"):
        EnergySampler(open_meter(trees.write(tmp_path, trees.ORIN_NX)), rate_hz=rate)
