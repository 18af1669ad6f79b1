"""Measuring as a library: what `sparsevit check`, `profile`, `inspect` and `doctor` print, as typed reports.

    from sparsevit_runtime import diagnostics, load

    with load("model.onnx") as model:
        report = diagnostics.profile(model, ["0", "0.6"], iterations=20)
        print(report.entries[1].time_ratio, diagnostics.check(model).agrees)

Reports are pydantic models: `model_dump_json` writes what the command's `--json` does. Names are imported when first
used, so that reading the machine needs neither numpy nor OpenCV.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "check": "checking",
    "CheckReport": "checking",
    "OutputCheck": "checking",
    "compare": "comparing",
    "ComparisonReport": "comparing",
    "profile": "profiling",
    "ProfileReport": "profile_report",
    "Soak": "soaking",
    "SoakReport": "soak_report",
    "inspect": "inspection",
    "inspect_engine": "inspection",
    "InspectReport": "inspection",
    "optimised_nodes": "optimised",
    "write_half": "halving",
    "find_meter": "energy",
    "read_machine": "machine",
    "MachineInfo": "machine",
}

__all__ = list(_HOME)

if TYPE_CHECKING:
    from .checking import CheckReport as CheckReport
    from .checking import OutputCheck as OutputCheck
    from .checking import check as check
    from .comparing import ComparisonReport as ComparisonReport
    from .comparing import compare as compare
    from .energy import find_meter as find_meter
    from .halving import write_half as write_half
    from .inspection import InspectReport as InspectReport
    from .inspection import inspect as inspect
    from .inspection import inspect_engine as inspect_engine
    from .machine import MachineInfo as MachineInfo
    from .machine import read_machine as read_machine
    from .optimised import optimised_nodes as optimised_nodes
    from .profile_report import ProfileReport as ProfileReport
    from .profiling import profile as profile
    from .soak_report import SoakReport as SoakReport
    from .soaking import Soak as Soak


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
