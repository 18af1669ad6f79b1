from __future__ import annotations

import pytest

import sensor_trees as trees
from sparsevit_runtime.power import open_meter


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [("cpu", ["Jetson", "RAPL"]), ("cuda", ["Jetson", "NVML|pynvml"]), (None, ["Jetson", "NVML|pynvml", "RAPL"])],
)
def test_a_machine_with_nothing_says_what_was_looked_for(tmp_path, kind, reasons, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "no such GPU")
    told = []
    assert open_meter(tmp_path, kind=kind, why_not=told.append) is None
    assert len(told) == len(reasons)
    for text, words in zip(told, reasons):
        assert any(word in text for word in words.split("|")), text


def test_counters_only_root_may_read(tmp_path):
    """A folder in place of the file fails to be read for everybody, root too."""
    trees.write(tmp_path, trees.rapl(1))
    file = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    dram = tmp_path / "sys/class/powercap/intel-rapl:0:1/energy_uj"
    for path in (file, dram):
        path.unlink()
        path.mkdir()
    told = []
    assert open_meter(tmp_path, kind="cpu", why_not=told.append) is None
    assert "sudo chmod a+r" in told[-1]


def test_a_module_goes_before_its_cpu(tmp_path):
    trees.write(tmp_path, {**trees.ORIN_NX, **trees.rapl(1)})
    assert open_meter(tmp_path, kind="cpu").name == "Jetson INA sensors"


def test_the_gpu_is_not_asked_for_what_the_cpu_runs(tmp_path):
    meter = open_meter(trees.write(tmp_path, trees.rapl(1)), kind="cpu", nvml=object())
    assert meter.name == "RAPL"
