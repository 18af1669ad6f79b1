from __future__ import annotations

import os

import numpy as np
import pytest

import sparsevit_runtime
from sparsevit_apps.machine import (
    MachineInfo,
    installed_versions,
    parse_cpu_limit,
    parse_cpu_name,
    parse_memory,
    parse_physical_cores,
    read_machine,
)

X86_CORE = """processor\t: {0}
model name\t: Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz
physical id\t: 0
core id\t\t: {1}
power management:

"""
JETSON_ORIN_CORE = """processor\t: {0}
BogoMIPS\t: 62.50
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd42
CPU revision\t: 1

"""
XAVIER_CORE = (
    "processor\t: {0}\nmodel name\t: ARMv8 Processor rev 0 (v8l)\nCPU implementer\t: 0x4e\nCPU part\t: 0x004\n\n"
)
UNKNOWN_ARM = "processor\t: 0\nmodel name\t: ARMv9 rev 1\nCPU implementer\t: 0x99\nCPU part\t: 0x001\n"


@pytest.mark.parametrize(
    ("cpuinfo", "name", "cores"),
    [
        ("", None, None),
        (
            "".join(X86_CORE.format(i, i % 3) for i in range(6)),
            "Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz",
            3,
        ),
        ("".join(JETSON_ORIN_CORE.format(i) for i in range(8)), "ARM Cortex-A78AE", 8),
        ("".join(XAVIER_CORE.format(i) for i in range(6)), "ARM Carmel", 6),
        (UNKNOWN_ARM, "ARMv9 rev 1", 1),
    ],
)
def test_processor(cpuinfo, name, cores):
    assert parse_cpu_name(cpuinfo) == name
    assert parse_physical_cores(cpuinfo) == cores


@pytest.mark.parametrize(("text", "limit"), [("", None), ("max 100000", None), ("150000 100000", 1.5)])
def test_container_limit(text, limit):
    assert parse_cpu_limit(text) == limit


def test_memory():
    assert parse_memory("MemTotal:       16384000 kB\nMemAvailable:    8000000 kB\nHugePages_Total:       0\n") == {
        "MemTotal": 16.78,
        "MemAvailable": 8.19,
    }


def test_versions_of_what_is_installed():
    assert installed_versions(("numpy", "no-such-distribution")) == {"numpy": np.__version__}


def test_this_machine():
    machine = read_machine()
    assert machine.cpu
    assert 1 <= machine.physical_cores <= machine.logical_cores == os.cpu_count()
    assert 0 < machine.usable_cores <= machine.logical_cores
    assert machine.versions["sparsevit-edge"] == sparsevit_runtime.__version__
    assert MachineInfo.model_validate_json(machine.model_dump_json()) == machine
