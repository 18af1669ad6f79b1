"""The soak of `benchmarks/live_soak.py`, short, with the same checks; memory has less time to settle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest

from live_soak_checks import SPREAD, Record, judge

ROOT = Path(__file__).parents[2]
WARM_S = 10.0
PEERS = {"sent": {"a": 12, "b": 10}, "seen": 9, "cut": 1}


@pytest.mark.slow
@pytest.mark.timed
def test_a_short_soak_holds(tmp_path):
    pytest.importorskip("av")
    out = tmp_path / "soak.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "live_soak.py"), "--out", str(out)]
    command += ["--minutes", "0.3", "--every", "2", "--growth", "0.2", "--spread", "inf"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(out.read_text())
    assert told["holds"]
    assert {name for name, _ in told["faults"]} == {"stall", "loss", "size", "deaf viewer", "full disk", "reload"}


def record(**change):
    """What a good soak writes down."""
    counts = {"captured": 10, "processed": 9, "dropped": 1, "failed": 0, "damaged": 0, "reconnects": 1}
    values = {
        "rss": [(float(at), 200.0 + at / 100) for at in range(60)],
        "threads": [(10.0, "stall", 20), (20.0, "full disk", 20), (30.0, "deaf viewer", 19), (40.0, "stall", 20)],
        "ages": array("d", [value for at in range(60) for value in (at, 50.0)]),
        "faults": [("stall", 10.0, 15.0), ("deaf viewer", 30.0, 35.0)],
        "effects": {"stall": 1, "deaf viewer": 1},
        "sessions": [{"a": counts, "b": counts}],
        "results": [{"a": 9, "b": 9}],
        "lines": [18],
        "recorded": [9],
    }
    return Record(**{**values, **change})


def failing(peers=PEERS, **change):
    return [check.name for check in judge(record(**change), peers, WARM_S, 0.02, SPREAD) if not check.holds]


def test_a_good_soak_holds():
    assert failing() == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"rss": [(float(at), 200.0 + at) for at in range(60)]}, "memory"),
        ({"rss": []}, "memory"),
        ({"threads": [(10.0, "stall", 20), (40.0, "stall", 21)]}, "threads"),
        ({"threads": [(10.0, "stall", 20)]}, "threads"),
        ({"ages": []}, "frame age"),
        ({"ages": array("d", [value for at in range(60) for value in (at, 50.0 if at < 55 else 500.0)])}, "frame age"),
        ({"results": [{"a": 9, "b": 8}]}, "results"),
        ({"lines": [17]}, "results"),
        ({"recorded": [8]}, "videos"),
        ({"undecodable": ["run1.mp4"]}, "videos"),
        ({"effects": {"stall": 0, "deaf viewer": 1}}, "faults seen"),
        ({"late": ["a at stall"]}, "faults seen"),
        ({"peers": PEERS | {"seen": 0}}, "viewers"),
        ({"peers": PEERS | {"cut": 0}}, "viewers"),
        ({"peers": PEERS | {"sent": {"a": 9, "b": 10}}}, "counters"),
    ],
)
def test_what_a_soak_has_to_find_is_found(change, name):
    assert failing(**change) == [name]


@pytest.mark.parametrize("change", [{"failed": 1, "captured": 11}, {"captured": 11}, {"dropped": 2}])
def test_counters_that_do_not_add_up_are_found(change):
    counts = record().sessions[0]["a"]
    assert failing(sessions=[{"a": counts | change, "b": counts}]) == ["counters"]


def test_ages_within_faults_do_not_count():
    ages = array("d", [value for at in range(60) for value in (at, 5000.0 if 10 <= at <= 15 else 50.0)])
    (told,) = [
        check.told for check in judge(record(ages=ages), PEERS, WARM_S, 0.02, SPREAD) if check.name == "frame age"
    ]
    assert "p99 50.0 ms" in told and np.isfinite(float(told.split()[1]))


def test_how_even_the_machine_is_without_a_session_is_told():
    alone = [20.0] * 98 + [40.0] * 2
    (told,) = [check.told for check in judge(record(alone=alone), PEERS, WARM_S, 0.02, SPREAD) if "p99" in check.told]
    assert told.endswith("the backend alone before: 2.00")
