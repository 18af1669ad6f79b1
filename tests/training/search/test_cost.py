import json

import numpy as np
import pytest

from sparsevit_runtime import load
from sparsevit_runtime.power import PowerReading
from sparsevit_runtime.windows.plan import Plan
from sparsevit_training.search.cost import CostError, CostModel, EnergyGauge, LatencyGauge, calibrate, measure
from sparsevit_training.search.space import Space

DEPTHS = (2, 4)
SPACE = Space(DEPTHS)


def shares_of(plan):
    return [1 - stage[j] for stage in plan.ratios for j in range(0, len(stage), 2)]


class DriftingDevice:
    """A device whose cost is linear in the shares, and which slows down by and by."""

    unit = "ms"

    def __init__(self, fixed=1.0, pairs=(4.0, 2.0, 3.0)):
        self.fixed, self.pairs = fixed, pairs
        self.runs = 0

    def __call__(self, plan):
        self.runs += 1
        return (self.fixed + float(np.dot(self.pairs, shares_of(plan)))) * (1 + 0.001 * self.runs)


def test_nothing_to_measure_costs_no_run():
    device = DriftingDevice()
    assert measure(device, [], 5) == [] and device.runs == 0


def test_ratios_hold_while_the_device_drifts():
    found = measure(DriftingDevice(), [Plan.dense(DEPTHS), Plan.uniform(0.5, DEPTHS)], rounds=40)
    assert [m.ratio for m in found] == pytest.approx([1.0, 0.55], rel=0.005)
    assert found[0].ratio == 1.0  # of itself, whatever the noise
    assert found[0].absolute > 10 * 1.03  # the milliseconds drifted


def test_calibration_finds_what_each_pair_costs():
    model = calibrate(DriftingDevice(), SPACE, shares_of, 8, 0, model="ab", device="a device")
    assert model.fixed == pytest.approx(0.1, abs=0.01)
    assert model.pairs == pytest.approx((0.4, 0.2, 0.3), abs=0.01)
    assert model.error < 0.01
    assert model.ratio(shares_of(Plan.uniform(0.5, DEPTHS))) == pytest.approx(0.55, abs=0.01)


def test_no_part_of_a_cost_model_is_negative():
    """A pair that makes the device faster when it computes more cannot be told from noise."""
    model = calibrate(DriftingDevice(pairs=(4.0, -0.5, 3.0)), SPACE, shares_of, 8, 0, model="ab", device="")
    assert min(model.fixed, *model.pairs) >= 0


COST = CostModel("ab" * 32, "a device", "ms", 20.0, 0.1, (0.4, 0.2, 0.3), 0.01)


def test_a_cost_model_survives_its_file(tmp_path):
    COST.save(tmp_path / "cost.json")
    assert CostModel.load(tmp_path / "cost.json", "ab" * 32, 3) == COST


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "not readable JSON"),
        ({"schema": 9}, "another schema"),
        ({"pairs": [0.1, -0.2, 0.3]}, "positive"),
        ({"pairs": 3}, "no cost model"),
        ({"dense": "fast"}, "no cost model"),
        ({"extra": 1}, "no cost model"),
        ({"model": "cd" * 32}, "another model"),
        ({"pairs": [0.1, 0.2]}, "another model"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, change, says):
    path = tmp_path / "cost.json"
    COST.save(path)
    path.write_text("{" if change is None else json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CostError, match=says):
        CostModel.load(path, "ab" * 32, 3)


def test_latency_is_that_of_the_run(tmp_path):
    import tiny

    with load(tiny.write_model(tmp_path / "tiny.onnx"), threads=1) as model:
        gauge = LatencyGauge(model, [np.zeros((32, 48, 3), np.uint8)])
        spent = [gauge(Plan.uniform(0.5, tiny.DEPTHS)) for _ in range(3)]
    assert all(0 < ms < 1000 for ms in spent)


class Battery:
    """A meter that says 5 W all the time, or nothing."""

    name, scope = "battery", "all"

    def __init__(self, watts):
        self.watts = watts

    def read(self):
        return PowerReading(watts=self.watts)

    def close(self):
        pass


def test_energy_is_power_over_the_frames_run(tmp_path):
    import tiny

    with load(tiny.write_model(tmp_path / "tiny.onnx"), threads=1) as model:
        frames = [np.zeros((32, 48, 3), np.uint8)]
        millijoules = EnergyGauge(model, frames, Battery(5.0), seconds=0.2)(Plan.dense(tiny.DEPTHS))
        assert 0 < millijoules < 5000 * 0.3  # at most all the energy of the time measured
        with pytest.raises(CostError, match="no energy"):
            EnergyGauge(model, frames, Battery(None), seconds=0.1)(Plan.dense(tiny.DEPTHS))
