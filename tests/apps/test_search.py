"""`sparsevit search` as a program: killed at any moment it goes on, and ends as an unbroken run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

import searchable
from shared_files import made_once
from sparsevit_apps.cli import app

COMMAND = [sys.executable, "-m", "sparsevit_apps.cli", "search"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    shutil.copy(made_once(tmp_path_factory, "searchable/model.onnx", searchable.write_model), folder)
    searchable.write_data(folder / "data", folder / "model.onnx", val=6, test=4)
    return folder


@pytest.fixture(scope="module")
def arguments(place):
    """With the costs of one measurement, so that only the answers of the model decide."""
    # The model is so small that pruning may cost more than it saves: a budget that everything fits.
    calibrating = ["model.onnx", "data", "--budget-ratio", "9", "--evaluations", "2", "--rounds", "2"]
    first = [*COMMAND, *calibrating, "--save-cost", "cost.json", "-o", "first.json"]
    subprocess.run(first, cwd=place, check=True, capture_output=True, timeout=300)
    common = ["model.onnx", "data", "--budget-plan", "0.5", "--evaluations", "24", "--population", "8", "--seed", "5"]
    return [*common, "--cost", "cost.json", "--test", "test", "--threads", "1"]


def decided(path):
    """What a search decided, by its report: everything but what a clock said."""
    timed = ("ratio", "absolute", "ms", "mJ")
    rows = json.loads(path.read_text())["rows"]
    assert [row["name"] for row in rows] == ["search", "random", "uniform", "dense"]
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


def plan_of(path):
    """The plan file without the date and the measured costs."""
    plan = json.loads(path.read_text())
    for timed in ("found", "cost", "cost_of_dense"):
        del plan["provenance"][timed]
    return plan


def test_killed_and_started_again_it_ends_as_an_unbroken_run(place, arguments):
    whole = [*COMMAND, *arguments, "-o", "whole.json", "--json", "whole-report.json"]
    subprocess.run(whole, cwd=place, check=True, capture_output=True, timeout=600)
    broken = [*COMMAND, *arguments, "-o", "broken.json", "--json", "broken-report.json"]
    state, kills = place / "broken.search.json", 0
    while kills < 3:
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen(broken, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if state.exists() and state.stat().st_mtime_ns != before:
                break
            time.sleep(0.01)
        if process.poll() is not None:
            break  # quicker than the killing
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills, "the search ended before it could be killed once"
    subprocess.run(broken, cwd=place, check=True, capture_output=True, timeout=600)
    assert decided(place / "broken-report.json") == decided(place / "whole-report.json")
    assert plan_of(place / "broken.json") == plan_of(place / "whole.json")


def test_the_plan_is_what_the_other_commands_take(place, arguments, monkeypatch):
    monkeypatch.chdir(place)
    run = CliRunner().invoke
    assert run(app, ["search", *arguments, "-o", "plan.json", "--evaluations", "8"]).exit_code == 0
    for command in (
        ["run", "synthetic://street?size=160x120&frames=2", "null://", "--model", "model.onnx", "-s", "plan.json"],
        ["profile", "model.onnx", "--sweep", "0,plan.json", "--iterations", "2", "--warm-up", "1", "--energy", "0"],
        ["eval", "model.onnx", "data", "--split", "test", "--sweep", "0,plan.json"],
    ):
        done = run(app, command)
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--budget-ms", "0.0001"], "budget"),
        (["--budget-ms", "5", "--budget-ratio", "0.5"], "one"),
        ([], "budget"),
        (["--budget-ratio", "0.5", "--split", "absent"], "absent"),
        (["--budget-mj", "5", "--objective", "energy"], "meter"),
    ],
    ids=str,
)
def test_bad_input_says_the_next_step(place, monkeypatch, changes, message):
    monkeypatch.chdir(place)
    done = CliRunner().invoke(app, ["search", "model.onnx", "data", "-o", "bad.json", "--rounds", "1", *changes])
    assert done.exit_code != 0 and message in done.output, done.output
    assert "Traceback" not in done.output and not (place / "bad.json").exists()
