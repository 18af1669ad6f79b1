"""The rows of docs/jetson.md. Boards are described by what they say of themselves; this machine is none."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from sparsevit_apps.cli import app
from sparsevit_apps.doctor.findings import DoctorReport
from sparsevit_apps.doctor.jetson import board, cuda_python, environment, power, release
from sparsevit_runtime.diagnostics.machine import read_machine

PAGE = (Path(__file__).parents[2] / "docs" / "jetson.md").read_text()


@pytest.mark.parametrize("line", re.findall(r"^sparsevit .+$", PAGE, re.MULTILINE))
def test_every_command_of_the_page_is_one(line):
    """Its arguments are read; nothing is run."""
    name, *arguments = shlex.split(line)[1:]
    commands = get_command(app).commands
    assert commands[name].make_context(name, arguments).params
    if name == "profile":  # what the command itself looks at
        assert ("--soak" in arguments) == ("--sparsity" in arguments)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "ok"),
        ("# R38 (release), REVISION: 2.0, GCID: 1, BOARD: generic", "ok"),
        ("# R36 (release), REVISION: 3.0, GCID: 36923193, BOARD: generic", "warn"),
        ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref", "warn"),
        ("", "missing"),
    ],
)
def test_releases(line, status):
    found = release(line)
    assert found.status == status and bool(found.advice) == (status != "ok")
    assert "R36" not in found.value or line.startswith("# R36")


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ("", "ok"),
        ("home = /usr/bin\ninclude-system-site-packages = true\nversion = 3.10.12\n", "ok"),
        ("home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.10.12\n", "missing"),
    ],
)
def test_environments(settings, status):
    found = environment(settings)
    assert found.status == status and ("--system-site-packages" in found.advice) == (status != "ok")


@pytest.mark.parametrize(
    ("mode", "governor", "statuses"),
    [
        ("MAXN", "performance", ["ok", "ok"]),
        ("MAXN_SUPER", "schedutil", ["ok", "warn"]),
        ("15W", "schedutil", ["warn", "warn"]),
        (None, None, ["missing"]),
    ],
)
def test_power_and_clocks(mode, governor, statuses):
    machine = read_machine().model_copy(update={"power_mode": mode, "governor": governor})
    assert [finding.status for finding in power(machine)] == statuses


@pytest.mark.parametrize(
    ("version", "release", "status", "advice"),
    [
        ("12.6.2", "# R36 (release), REVISION: 4.3", "ok", ""),
        ("13.0.1", "# R36 (release), REVISION: 4.3", "warn", "<13'"),
        ("13.0.1", "# R38 (release), REVISION: 2.0", "ok", ""),
        ("12.6.2", "# R38 (release), REVISION: 2.0", "ok", ""),
        ("13.0.1", "", "warn", "<13'"),
        (None, "# R38 (release), REVISION: 2.0", "missing", "<14'"),
    ],
)
def test_cuda_python_is_no_later_than_the_boards_cuda(version, release, status, advice):
    found = cuda_python(version, release)
    assert found.status == status and found.advice.count(advice or "pip") == bool(advice)


def test_a_board_and_what_is_none():
    machine = read_machine()
    orin = machine.model_copy(update={"jetson": "NVIDIA Jetson Orin Nano Developer Kit"})
    assert board(orin).status == "ok" and board(orin).value.startswith("NVIDIA Jetson Orin Nano")
    none = board(machine.model_copy(update={"jetson": None}))
    assert none.status == "missing" and none.required and "sparsevit doctor" in none.advice


def test_every_row_is_in_the_page_and_says_what_to_do(sparsevit):
    said = sparsevit("doctor", "--jetson", "--json")
    report = DoctorReport.model_validate_json(said.out)
    assert said.code == (0 if report.healthy else 1)
    if report.machine.jetson is None:
        assert said.code == 1 and "board" in said.err and "Traceback" not in said.err
    for finding in report.findings:
        assert re.search(rf"^\| {re.escape(finding.name)} \|", PAGE, re.MULTILINE), finding.name
        assert finding.status == "ok" or finding.advice or finding.name == "tensorrt"
    assert json.loads(said.out)["schema_version"] == 1
