"""What this machine is: processor, memory, board, and the versions that decide how fast a model runs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

import sparsevit_runtime

#: Distributions whose versions go into reports, when installed.
REPORTED = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
    "tensorrt",
    "torch",
)

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


class MachineInfo(BaseModel):
    """The machine a figure was measured on.

    Attributes:
        cpu: model name.
        physical_cores: cores without hyper-threads.
        logical_cores: processors the system shows.
        usable_cores: processors this process may use, by affinity and container limit; a fraction is a time share.
        memory_gb, memory_available_gb: 1e9 bytes; None where unknown.
        governor: cpufreq governor; None where the system shows none, as virtual machines do.
        load_average: processes wanting to run, over the last minute.
        jetson: board, on a Jetson.
        power_mode: of `nvpmodel`, on a Jetson.
        system: kernel and architecture.
        distribution: of the operating system.
        python: version.
        versions: of installed libraries by distribution name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    physical_cores: int
    logical_cores: int
    usable_cores: float
    memory_gb: float | None
    memory_available_gb: float | None
    governor: str | None
    load_average: float | None
    jetson: str | None
    power_mode: str | None
    system: str
    distribution: str
    python: str
    versions: dict[str, str]


def read_machine() -> MachineInfo:
    """Looks at this machine. What cannot be found out is None, never a guess."""
    cpuinfo = _read("/proc/cpuinfo") or ""
    memory = parse_memory(_read("/proc/meminfo") or "")
    logical = os.cpu_count() or 1
    return MachineInfo(
        cpu=parse_cpu_name(cpuinfo) or platform.processor() or platform.machine(),
        physical_cores=parse_physical_cores(cpuinfo) or logical,
        logical_cores=logical,
        usable_cores=_usable_cores(logical),
        memory_gb=memory.get("MemTotal"),
        memory_available_gb=memory.get("MemAvailable"),
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        load_average=_load_average(),
        jetson=jetson_board(),
        power_mode=_power_mode(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        distribution=_distribution(),
        python=platform.python_version(),
        versions={"sparsevit-edge": sparsevit_runtime.__version__, **installed_versions(REPORTED)},
    )


def installed_versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """Versions of those that are installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def jetson_board() -> str | None:
    """Name of the board from the device tree, when it is one of NVIDIA's."""
    model = _read("/proc/device-tree/model")
    compatible = _read("/proc/device-tree/compatible") or ""
    return model if model and ("nvidia" in compatible or "NVIDIA" in model) else None


def parse_cpu_name(cpuinfo: str) -> str | None:
    """The processor's name from the text of /proc/cpuinfo."""
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
    """Processors a container may use, from the text of cgroup's cpu.max; None without a limit."""
    parts = cpu_max.split()
    return int(parts[0]) / int(parts[1]) if len(parts) == 2 and parts[0].isdigit() else None


def _fields(cpuinfo: str) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for line in cpuinfo.splitlines():
        key, mark, value = line.partition(":")
        if mark and value.strip():
            fields.setdefault(key.strip(), []).append(value.strip())
    return fields


def _usable_cores(logical: int) -> float:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    limit = parse_cpu_limit(_read("/sys/fs/cgroup/cpu.max") or "")
    return float(min(allowed, limit or allowed))


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _power_mode() -> str | None:
    if jetson_board() is None or shutil.which("nvpmodel") is None:
        return None
    try:
        done = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"NV Power Mode: *(.+)", done.stdout)
    return match[1].strip() if match else None


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.platform()


def _read(path: str) -> str | None:
    """Text of a small system file, without the zero bytes of device-tree entries; None when unreadable."""
    try:
        return Path(path).read_text(errors="replace").replace("\0", " ").strip() or None
    except OSError:
        return None
