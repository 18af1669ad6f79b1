"""What Linux says of a machine in text: /proc/cpuinfo, /proc/meminfo, cgroups, device tree."""

from __future__ import annotations

import re
from pathlib import Path

#: ARM cores by (implementer, part); newer kernels give no model name there.
_ARM_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}


def system_text(path: str | Path) -> str:
    """Text of a small system file, without the zero bytes of device-tree entries; empty when unreadable."""
    try:
        return Path(path).read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def parse_cpu_name(cpuinfo: str) -> str | None:
    """The CPU's name from the text of /proc/cpuinfo."""
    fields = _fields(cpuinfo)
    if "CPU implementer" in fields and "CPU part" in fields:
        core = int(fields["CPU implementer"][0], 16), int(fields["CPU part"][0], 16)
        if core in _ARM_CORES:
            return f"ARM {_ARM_CORES[core]}"
    for key in ("model name", "Processor", "cpu model", "Model"):
        if key in fields:
            return fields[key][0]
    return None


def parse_physical_cores(cpuinfo: str) -> int | None:
    """Cores without hyper-threads from the text of /proc/cpuinfo."""
    fields = _fields(cpuinfo)
    cores = set(zip(fields.get("physical id", ()), fields.get("core id", ())))
    return len(cores) or len(fields.get("processor", ())) or None


def parse_memory(meminfo: str) -> dict[str, float]:
    """Entries of /proc/meminfo in units of 1e9 bytes."""
    return {name: round(int(kib) * 1024 / 1e9, 2) for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", meminfo, re.M)}


def parse_cpu_limit(cpu_max: str) -> float | None:
    """CPUs a container may use, from the text of cgroup's cpu.max; None without a limit."""
    parts = cpu_max.split()
    return int(parts[0]) / int(parts[1]) if len(parts) == 2 and parts[0].isdigit() else None


def _fields(cpuinfo: str) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for line in cpuinfo.splitlines():
        key, mark, value = line.partition(":")
        if mark and value.strip():
            fields.setdefault(key.strip(), []).append(value.strip())
    return fields
