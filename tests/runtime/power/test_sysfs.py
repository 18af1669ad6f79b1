from __future__ import annotations

import pytest

import sensor_trees as trees
from sparsevit_runtime.power import HostSensors, PowerReading


def test_a_machine_that_shows_nothing(tmp_path):
    assert HostSensors(tmp_path).read() == PowerReading()


def test_clocks_and_temperatures(tmp_path):
    """The video engine is no GPU; a zone that is switched off has no temperature; a fan does not throttle."""
    reading = HostSensors(trees.write(tmp_path, trees.board())).read()
    assert reading.clocks_mhz == {"cpu 0": 1984, "cpu 4": 729.6, "17000000.gpu": 918}
    assert reading.temperatures_c == {"cpu-thermal": 51.25, "gpu-thermal": 48.5}
    assert (reading.watts, reading.joules, reading.throttled) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"class/thermal/cooling_device1/cur_state": 1}, "gpu-throttle-alert"),
        ({"class/thermal/cooling_device2/cur_state": 4}, "cpufreq-cpu0"),
        ({"class/thermal/cooling_device0/cur_state": 7}, None),
        ({"class/thermal/cooling_device2/cur_state": "broken"}, None),
        ({"class/hwmon/hwmon9/oc1_event_cnt": 6}, "under-voltage"),
        (
            {"class/hwmon/hwmon9/oc3_event_cnt": 9, "class/thermal/cooling_device1/cur_state": 1},
            "gpu-throttle-alert, over-current",
        ),
    ],
)
def test_what_holds_the_clocks_back(tmp_path, changes, reason):
    sensors = HostSensors(trees.write(tmp_path, trees.board()))
    assert sensors.read().throttled is None  # events from before do not count
    trees.write(tmp_path, changes)
    assert sensors.read().throttled == reason


def test_an_over_current_event_is_told_once(tmp_path):
    sensors = HostSensors(trees.write(tmp_path, trees.board()))
    trees.write(tmp_path, {"class/hwmon/hwmon9/oc3_event_cnt": 6})
    assert [sensors.read().throttled for _ in range(2)] == ["over-current", None]
