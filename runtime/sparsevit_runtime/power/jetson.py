"""Power of a Jetson module: its INA monitors, as the kernel shows them from JetPack 5 on.

Rails by board, as NVIDIA's Jetson Linux Developer Guide, "Platform Power and Performance", lists them:
Orin NX and Nano have VDD_IN for the module and VDD_CPU_GPU_CV and VDD_SOC within it; AGX Orin has VDD_GPU_SOC,
VDD_CPU_CV and VIN_SYS_5V0 side by side, the last with VDDQ_VDD2_1V8AO within it; Thor has VIN for the board and
VDD_GPU, VDD_CPU_SOC_MSS and VIN_SYS_5V0 within it.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from .reading import MeterError, PowerReading
from .sysfs import HostSensors, hwmon_chips, read_int, read_text

_CHIP = re.compile(r"ina(3221|2\d\d)")
#: Rails that feed all others.
_TOTAL = ("VDD_IN", "VIN", "POM_5V_IN")
#: Rails within another one that is counted.
_WITHIN = {"VDDQ_VDD2_1V8AO"}


class JetsonMeter:
    """Watts of the module, from rails that are read and not counted."""

    name = "Jetson INA sensors"

    def __init__(self, rails: dict[str, Path], root: Path) -> None:
        """
        Args:
            rails: rails of `find_rails`, not empty.
            root: root of the file tree that holds sys.
        """
        total = next((name for name in _TOTAL if name in rails), None)
        self._rails = {total: rails[total]} if total else {n: f for n, f in rails.items() if n not in _WITHIN}
        self.scope = " + ".join(self._rails)
        self._sensors = HostSensors(root)

    def read(self) -> PowerReading:
        """See `PowerMeter.read`."""
        reading = self._sensors.read()
        watts = {name: _watts(file) for name, file in self._rails.items()}
        gone = [name for name, value in watts.items() if value is None]
        if gone:
            raise MeterError(f"{', '.join(gone)} cannot be read any more under {self._rails[gone[0]].parent}")
        return dataclasses.replace(reading, watts=sum(value for value in watts.values() if value is not None))

    def close(self) -> None:
        """See `PowerMeter.close`."""
        self._sensors.close()


def find_rails(root: Path) -> dict[str, Path]:
    """Rails that can be read, by label: `curr1_input` of the channel, or `power1_input` where the chip multiplies."""
    rails = {}
    for chip, folder in hwmon_chips(root):
        if not _CHIP.fullmatch(chip):
            continue
        for file in sorted([*folder.glob("curr*_input"), *folder.glob("power*_input")]):
            channel = re.sub(r"\D", "", file.name)
            label = read_text(folder / f"in{channel}_label") or read_text(folder / f"power{channel}_label")
            label = label or read_text(folder / "label")
            # "sum of shunt voltages" is no rail, "NC" not connected
            if label and label != "NC" and not label.startswith("sum of") and _watts(file) is not None:
                rails[label] = file
    return rails


def _watts(file: Path) -> float | None:
    value = read_int(file)
    if value is None:
        return None
    if file.name.startswith("power"):
        return value / 1e6  # microwatts
    volts = read_int(file.with_name(file.name.replace("curr", "in")))
    return None if volts is None else value * volts / 1e6  # milliamperes, millivolts
