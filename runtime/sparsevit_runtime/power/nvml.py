"""Power of a discrete NVIDIA GPU, from the driver's management library (nvidia-ml-py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .reading import MeterError, PowerReading

#: Reasons by the name of their bit; the idle GPU and clocks set by somebody are not held back.
_REASONS = {
    "SwPowerCap": "power limit",
    "HwSlowdown": "hardware slow-down",
    "HwThermalSlowdown": "hardware thermal slow-down",
    "SwThermalSlowdown": "thermal slow-down",
    "HwPowerBrakeSlowdown": "power brake",
}


class NvmlMeter:
    """Watts of one GPU, and its joules where the driver counts them (from Volta on)."""

    def __init__(self, nvml: Any, device: str | None = None) -> None:
        """
        Args:
            nvml: the module `pynvml`.
            device: number or UUID as NVML knows it; the first of CUDA_VISIBLE_DEVICES unless given.

        Raises:
            MeterError: there is no driver, no such GPU, or it does not tell its power.
        """
        self._nvml = nvml
        self._open = False
        try:
            nvml.nvmlInit()
            self._open = True
            self._handle = _find(nvml, device)
            self.name = "NVML"
            self.scope = _text(nvml.nvmlDeviceGetName(self._handle))
            nvml.nvmlDeviceGetPowerUsage(self._handle)
        except nvml.NVMLError as error:
            self.close()
            raise MeterError(f"NVML: {error}") from error
        self._start_mj = self._maybe("nvmlDeviceGetTotalEnergyConsumption")

    def read(self) -> PowerReading:
        """See `PowerMeter.read`."""
        if not self._open:
            raise MeterError("NVML is closed; open the meter again")
        nvml = self._nvml
        try:
            watts = nvml.nvmlDeviceGetPowerUsage(self._handle) / 1e3  # milliwatts
        except nvml.NVMLError as error:
            raise MeterError(f"{self.scope} cannot be read any more: {error}") from error
        start = self._start_mj
        count = None if start is None else self._maybe("nvmlDeviceGetTotalEnergyConsumption")
        clocks = {
            "gpu": self._maybe("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            "memory": self._maybe("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
        }
        temperature = self._maybe("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU)
        return PowerReading(
            watts=watts,
            joules=None if count is None or start is None else (count - start) / 1e3,
            clocks_mhz={name: float(mhz) for name, mhz in clocks.items() if mhz is not None},
            temperatures_c={} if temperature is None else {"gpu": float(temperature)},
            throttled=self._throttled(),
        )

    def close(self) -> None:
        """See `PowerMeter.close`."""
        if self._open:
            self._open = False
            try:
                self._nvml.nvmlShutdown()
            except self._nvml.NVMLError:
                return  # the driver went first

    def _throttled(self) -> str | None:
        bits = self._maybe("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        masks = {
            word: getattr(self._nvml, f"nvmlClocksThrottleReason{name}", 0)
            or getattr(self._nvml, f"nvmlClocksEventReason{name}", 0)
            for name, word in _REASONS.items()
        }
        return ", ".join(word for word, mask in masks.items() if bits & mask) or None

    def _maybe(self, question: str, *arguments: Any) -> int | None:
        """An answer that not every GPU has."""
        ask: Callable[..., int] | None = getattr(self._nvml, question, None)
        try:
            return None if ask is None else ask(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def _find(nvml: Any, device: str | None) -> Any:
    if device is None:
        device = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip() or "0"
    return (
        nvml.nvmlDeviceGetHandleByIndex(int(device)) if device.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(device)
    )


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
