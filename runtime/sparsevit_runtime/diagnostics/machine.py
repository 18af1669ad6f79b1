"""What this machine is: CPU, memory, board, and the versions that decide how fast a model runs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata

from pydantic import BaseModel, ConfigDict

from .. import __version__
from .proc import parse_cpu_limit, parse_cpu_name, parse_memory, parse_physical_cores, system_text

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


class MachineInfo(BaseModel):
    """The machine a figure was measured on.

    Attributes:
        cpu: model name.
        physical_cores: cores without hyper-threads.
        logical_cores: CPUs the system shows.
        usable_cores: CPUs this process may use, by affinity and container limit; a fraction is a time share.
        memory_gb, memory_available_gb: 1e9 bytes; None where unknown.
        governor: cpufreq governor; None where the system shows none, as virtual machines do.
        load_average: processes wanting to run, over the last minute.
        jetson: board, on a Jetson.
        power_mode: power mode of `nvpmodel`, on a Jetson.
        system: kernel and architecture.
        distribution: distribution of the operating system.
        python: version.
        versions: versions of installed libraries by distribution name.
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
    cpuinfo = system_text("/proc/cpuinfo")
    memory = parse_memory(system_text("/proc/meminfo"))
    logical = os.cpu_count() or 1
    return MachineInfo(
        cpu=parse_cpu_name(cpuinfo) or platform.processor() or platform.machine(),
        physical_cores=parse_physical_cores(cpuinfo) or logical,
        logical_cores=logical,
        usable_cores=_usable_cores(logical),
        memory_gb=memory.get("MemTotal"),
        memory_available_gb=memory.get("MemAvailable"),
        governor=system_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        load_average=read_load_average(),
        jetson=jetson_board(),
        power_mode=_power_mode(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        distribution=_distribution(),
        python=platform.python_version(),
        versions={"sparsevit-edge": __version__, **installed_versions(REPORTED)},
    )


def installed_versions(distributions: Sequence[str]) -> dict[str, str]:
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
    model = system_text("/proc/device-tree/model")
    compatible = system_text("/proc/device-tree/compatible")
    return model if model and ("nvidia" in compatible or "NVIDIA" in model) else None


def read_load_average() -> float | None:
    """Processes wanting to run, over the last minute; None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _usable_cores(logical: int) -> float:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    limit = parse_cpu_limit(system_text("/sys/fs/cgroup/cpu.max"))
    return float(min(allowed, limit or allowed))


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
