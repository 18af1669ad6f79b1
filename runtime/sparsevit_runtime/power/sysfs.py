"""Clocks, temperatures and throttling as Linux shows them under /sys, on any machine.

Documentation/ABI/testing/sysfs-class-thermal, sysfs-class-devfreq and admin-guide/pm/cpufreq of the Linux kernel.
"""

from __future__ import annotations

import re
from pathlib import Path

from .reading import MeterError, PowerReading

#: GPUs among the devices with a clock of their own: Xavier gv11b, Orin ga10b or `gpu`, Thor gpu-gpc-0 and gpu-nvd-0.
_GPU = re.compile(r"gpu|g[vapm]\d\d?b")
#: Cooling devices that lower a clock when their state is above 0. A fan or a power clamp at rest is none.
_SLOWING = re.compile(r"throttle|cpufreq|devfreq|^Processor$|gpu")
_THROTTLE_WORDS = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "over-current"}


def read_text(path: Path) -> str | None:
    """Text of a small file; None when it cannot be read. A sensor of a part that is switched off answers with an
    error."""
    try:
        return path.read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The whole number in a small file; None when there is none."""
    text = read_text(path)
    try:
        return None if text is None else int(text.split()[0])
    except (ValueError, IndexError):
        return None


def hwmon_chips(root: Path) -> list[tuple[str, Path]]:
    """Name and folder of every hardware monitor, in order of their numbers."""
    folders = sorted((root / "sys/class/hwmon").glob("hwmon*"), key=lambda path: (len(path.name), path.name))
    return [(name, path) for path in folders if (name := read_text(path / "name"))]


class HostSensors:
    """Everything but power. Is there on every machine, if with little to tell."""

    name = "/sys"
    scope = "no power meter"

    def __init__(self, root: Path = Path("/")) -> None:
        """
        Args:
            root: root of the file tree that holds sys.
        """
        sys = root / "sys"
        self._clocks: list[tuple[str, Path, float]] = []  # name, file, units per MHz
        policies = sorted(sys.glob("devices/system/cpu/cpufreq/policy*"))
        self._clocks += [(f"cpu {p.name.removeprefix('policy')}", p / "scaling_cur_freq", 1e3) for p in policies]
        gpus = [path for path in sorted(sys.glob("class/devfreq/*")) if _GPU.search(path.name)]
        self._clocks += [(path.name, path / "cur_freq", 1e6) for path in gpus]
        zones = [(read_text(path / "type"), path) for path in sorted(sys.glob("class/thermal/thermal_zone*"))]
        self._zones = [(name, path / "temp") for name, path in zones if name]
        cooling = [(read_text(path / "type"), path) for path in sorted(sys.glob("class/thermal/cooling_device*"))]
        self._cooling = [
            (name, path / "cur_state") for name, path in cooling if name and _SLOWING.search(name) and "fan" not in name
        ]
        chips = [path for name, path in hwmon_chips(root) if name == "soctherm_oc"]
        self._events = [file for chip in chips for file in sorted(chip.glob("oc*_event_cnt"))]
        self._seen = {file: read_int(file) or 0 for file in self._events}
        self._closed = False

    def read(self) -> PowerReading:
        """See `PowerMeter.read`; watts and joules are None."""
        if self._closed:
            raise MeterError("the sensors are closed; open them again")
        clocks = {name: value / unit for name, file, unit in self._clocks if (value := read_int(file)) is not None}
        temperatures = {name: value / 1e3 for name, file in self._zones if (value := read_int(file)) is not None}
        return PowerReading(clocks_mhz=clocks, temperatures_c=temperatures, throttled=self._throttled())

    def close(self) -> None:
        """See `PowerMeter.close`."""
        self._closed = True

    def _throttled(self) -> str | None:
        reasons = [name for name, file in self._cooling if (read_int(file) or 0) > 0]
        for file in self._events:
            count = read_int(file) or 0
            if count > self._seen[file]:
                reasons.append(_THROTTLE_WORDS.get(file.name.partition("_")[0], file.name))
            self._seen[file] = count
        return ", ".join(dict.fromkeys(reasons)) or None
