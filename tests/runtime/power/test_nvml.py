from __future__ import annotations

import types

import pytest

from sparsevit_runtime.power import MeterError, open_meter
from sparsevit_runtime.power.nvml import NvmlMeter


class Driver(types.SimpleNamespace):
    """Stands for pynvml on a machine with a driver."""

    class NVMLError(Exception):
        pass

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    nvmlClocksThrottleReasonGpuIdle, nvmlClocksThrottleReasonSwPowerCap = 1, 4
    nvmlClocksEventReasonSwThermalSlowdown = 0x20  # newer releases have the newer name only

    def __init__(self, **changes):
        super().__init__(
            **{"mw": 61500, "mj": 1_000_000, "reasons": 0, "fails": (), "opened": 0, "asked": None} | changes
        )

    def _answer(self, question, value):
        if question in self.fails:
            raise self.NVMLError(f"{question} is not supported")
        return value

    def nvmlInit(self):
        self._answer("init", None)
        self.opened += 1

    def nvmlShutdown(self):
        self.opened -= 1

    def nvmlDeviceGetHandleByIndex(self, index):
        self.asked = index
        return self._answer("handle", "gpu")

    def nvmlDeviceGetHandleByUUID(self, uuid):
        self.asked = uuid
        return "gpu"

    def nvmlDeviceGetName(self, handle):
        return b"NVIDIA RTX"

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._answer("power", self.mw)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self._answer("energy", self.mj)

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return self._answer("clock", {1: 1980, 2: 2619}[kind])

    def nvmlDeviceGetTemperature(self, handle, kind):
        return self._answer("temperature", 54)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self._answer("reasons", self.reasons)


def test_a_gpu_that_tells_everything(tmp_path):
    driver = Driver()
    meter = open_meter(tmp_path, kind="cuda", nvml=driver)
    assert (meter.name, meter.scope) == ("NVML", "NVIDIA RTX")
    driver.mj += 2500
    reading = meter.read()
    assert (reading.watts, reading.joules) == (61.5, 2.5)
    assert reading.clocks_mhz == {"gpu": 1980, "memory": 2619}
    assert reading.temperatures_c == {"gpu": 54}


def test_a_gpu_that_tells_its_power_only():
    reading = NvmlMeter(Driver(fails=("energy", "clock", "temperature", "reasons"))).read()
    assert (reading.watts, reading.joules, reading.throttled) == (61.5, None, None)
    assert reading.clocks_mhz == reading.temperatures_c == {}


@pytest.mark.parametrize(
    ("bits", "reason"), [(0, None), (1, None), (5, "power limit"), (0x24, "power limit, thermal slow-down")]
)
def test_reasons(bits, reason):
    assert NvmlMeter(Driver(reasons=bits)).read().throttled == reason


@pytest.mark.parametrize(
    ("visible", "device", "asked"),
    [("", None, 0), ("2,0", None, 2), ("GPU-1234", None, "GPU-1234"), ("2", "1", 1), ("2", "GPU-5", "GPU-5")],
)
def test_which_gpu(monkeypatch, visible, device, asked):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver = Driver()
    NvmlMeter(driver, device)
    assert driver.asked == asked


@pytest.mark.parametrize("broken", ["init", "handle", "power"])
def test_no_gpu_is_no_meter(tmp_path, broken):
    driver, reasons = Driver(fails=(broken,)), []
    assert open_meter(tmp_path, kind="cuda", nvml=driver, why_not=reasons.append) is None
    assert driver.opened == 0
    assert f"{broken} is not supported" in reasons[-1]


def test_a_driver_that_goes_away():
    driver = Driver()
    meter = NvmlMeter(driver)
    driver.fails = ("power",)
    with pytest.raises(MeterError, match="NVIDIA RTX cannot be read any more"):
        meter.read()
    meter.close()
    meter.close()
    assert driver.opened == 0
    with pytest.raises(MeterError, match="closed"):
        meter.read()
