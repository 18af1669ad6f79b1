from __future__ import annotations

import pytest

from sparsevit_runtime.diagnostics.proc import (
    parse_cpu_limit,
    parse_cpu_name,
    parse_memory,
    parse_physical_cores,
    system_text,
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
def test_cpu(cpuinfo, name, cores):
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


def test_system_files(tmp_path):
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin Nano\0")
    (tmp_path / "compatible").write_bytes(b"nvidia,p3768\0nvidia,tegra234\0")
    assert system_text(tmp_path / "model") == "NVIDIA Jetson Orin Nano"
    assert system_text(tmp_path / "compatible") == "nvidia,p3768 nvidia,tegra234"
    assert system_text(tmp_path / "absent") == system_text(tmp_path) == ""
