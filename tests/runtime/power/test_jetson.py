from __future__ import annotations

import pytest

import sensor_trees as trees
from sparsevit_runtime.power import MeterError, open_meter
from sparsevit_runtime.power.jetson import find_rails


@pytest.mark.parametrize(
    ("files", "scope", "watts"),
    [
        (trees.ORIN_NX, "VDD_IN", 10.0),
        (trees.AGX_ORIN, "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", 17.0),
        (trees.THOR, "VIN", 42.5),
        (trees.ina3221(1, {1: ("GPU", 12000, 250), 2: ("CPU", 12000, 500)}), "GPU + CPU", 9.0),
    ],
    ids=["orin-nx", "agx-orin", "thor", "xavier"],
)
def test_rails_of_a_board_are_added_once(tmp_path, files, scope, watts):
    meter = open_meter(trees.write(tmp_path, {**trees.board(), **files}), kind="cuda")
    reading = meter.read()
    assert (meter.name, meter.scope) == ("Jetson INA sensors", scope)
    assert reading.watts == pytest.approx(watts)
    assert reading.joules is None
    assert reading.clocks_mhz == {"cpu 0": 1984, "cpu 4": 729.6, "17000000.gpu": 918}


@pytest.mark.parametrize("missing", ["in1_input", "curr1_input", "name"])
def test_a_rail_that_cannot_be_read_is_none(tmp_path, missing):
    files = trees.ina3221(1, {1: ("VDD_IN", 5000, 2000)})
    del files[f"class/hwmon/hwmon1/{missing}"]
    assert find_rails(trees.write(tmp_path, files)) == {}


def test_a_sensor_that_goes_away(tmp_path):
    meter = open_meter(trees.write(tmp_path, trees.ORIN_NX))
    assert meter.read().watts == 10.0
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").unlink()
    with pytest.raises(MeterError, match="VDD_IN cannot be read any more"):
        meter.read()


def test_closing_twice(tmp_path):
    meter = open_meter(trees.write(tmp_path, trees.ORIN_NX))
    meter.close()
    meter.close()
    with pytest.raises(MeterError, match="closed"):
        meter.read()
