"""Which meter this machine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..dependencies import require
from ..errors import MissingDependencyError
from .jetson import JetsonMeter, find_rails
from .nvml import NvmlMeter
from .rapl import RaplMeter, find_zones
from .reading import MeterError, PowerMeter


def open_meter(
    root: Path = Path("/"),
    *,
    kind: str | None = None,
    device: str | None = None,
    nvml: Any = None,
    why_not: Callable[[str], None] = lambda reason: None,
) -> PowerMeter | None:
    """The meter of what runs the model: a Jetson's module, else the GPU, else the CPU.

    Args:
        root: root of the file tree that holds sys.
        kind: ``cuda`` or ``cpu``, to ask only meters of that; None asks all.
        device: number or UUID of the GPU as NVML knows it; the first of CUDA_VISIBLE_DEVICES unless given.
        nvml: the module `pynvml`; imported unless given.
        why_not: function that is told why a meter cannot be used, for each that was asked.

    Returns:
        A meter that has answered once, or None.
    """
    rails = find_rails(root)
    if rails:
        return JetsonMeter(rails, root)
    why_not("no Jetson power rails under /sys/class/hwmon")
    if kind in (None, "cuda"):
        try:
            return NvmlMeter(require("pynvml") if nvml is None else nvml, device)
        except (MeterError, MissingDependencyError) as error:
            why_not(str(error))
    if kind in (None, "cpu"):
        zones, denied = find_zones(root)
        if zones:
            return RaplMeter(zones, root)
        why_not(
            f"{denied[0]} is readable by root only: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
            if denied
            else "no RAPL counters under /sys/class/powercap"
        )
    return None
