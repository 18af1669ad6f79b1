from __future__ import annotations

import pytest

import sensor_trees as trees
from sparsevit_runtime.power import MeterError, open_meter


def test_packages_and_memory_are_counted_and_nothing_twice(tmp_path):
    meter = open_meter(trees.write(tmp_path, trees.rapl(5_000_000, 1_000_000)), kind="cpu")
    assert (meter.name, meter.scope) == ("RAPL", "package-0 + dram")
    assert meter.read().joules == 0
    trees.write(tmp_path, trees.rapl(8_500_000, 1_250_000))
    assert [meter.read().joules for _ in range(2)] == [3.75, 3.75]
    assert meter.read().watts is None


def test_counters_wrap(tmp_path):
    meter = open_meter(trees.write(tmp_path, trees.rapl(9_000_000, range_uj=10_000_000)), kind="cpu")
    joules = []
    for count in (500_000, 9_500_000, 100_000):
        trees.write(tmp_path, trees.rapl(count, range_uj=10_000_000))
        joules.append(meter.read().joules)
    assert joules == [1.5, 10.5, 11.1]


def test_a_counter_that_goes_away(tmp_path):
    meter = open_meter(trees.write(tmp_path, trees.rapl(1)), kind="cpu")
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    with pytest.raises(MeterError, match="energy_uj cannot be read any more"):
        meter.read()
    meter.close()
    meter.close()
