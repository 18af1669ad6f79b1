"""Energy of Intel and AMD CPUs: the running average power limit counters, as Linux's powercap shows them.

Documentation/power/powercap/powercap.rst of the Linux kernel. AMD's counters appear under the same name, intel-rapl.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from .reading import MeterError, PowerReading
from .sysfs import HostSensors, read_int, read_text


class RaplMeter:
    """Joules of the CPU packages, and of the memory where it is counted apart."""

    name = "RAPL"

    def __init__(self, zones: dict[str, Path], root: Path) -> None:
        """
        Args:
            zones: zones of `find_zones`, not empty.
            root: root of the file tree that holds sys.
        """
        self.scope = " + ".join(zones)
        self._zones = {folder: (read_int(folder / "max_energy_range_uj") or 0) for folder in zones.values()}
        self._last = {folder: read_int(folder / "energy_uj") or 0 for folder in self._zones}
        self._total_uj = 0
        self._sensors = HostSensors(root)

    def read(self) -> PowerReading:
        """See `PowerMeter.read`. A counter wraps after some kilojoules, minutes at full power: look more often."""
        reading = self._sensors.read()
        for folder, range_uj in self._zones.items():
            count = read_int(folder / "energy_uj")
            if count is None:
                raise MeterError(f"{folder / 'energy_uj'} cannot be read any more")
            step = count - self._last[folder]
            self._total_uj += step if step >= 0 else step + range_uj
            self._last[folder] = count
        return dataclasses.replace(reading, joules=self._total_uj / 1e6)

    def close(self) -> None:
        """See `PowerMeter.close`."""
        self._sensors.close()


def find_zones(root: Path) -> tuple[dict[str, Path], list[Path]]:
    """Counters by name that can be read, and those that are there but cannot. `core` and `uncore` lie within a package,
    `psys` around it: neither is added."""
    found, denied = {}, []
    for folder in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        name = read_text(folder / "name") or ""
        if name.startswith("package") or name == "dram":
            if read_int(folder / "energy_uj") is None:
                denied.append(folder / "energy_uj")
            else:
                found[name if name not in found else f"{name} {folder.name.removeprefix('intel-rapl:')}"] = folder
    return found, denied
