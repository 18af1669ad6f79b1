from __future__ import annotations

from dataclasses import replace

import pytest
import typer

from sparsevit_apps import options
from sparsevit_apps.options import parse_size, parse_sweep
from sparsevit_runtime.errors import PlanError
from sparsevit_runtime.windows.plan import Plan


def test_a_plan_file_may_look_like_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Plan(((0.25, 0.25),)).save("0.5,plan.json")
    assert Plan.parse("0.5,plan.json", (2,)).ratios == ((0.25, 0.25),)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("0", ["0"]),
        ("0.50", ["0", "0.5"]),
        ("0.3,0,0.5,0.30", ["0", "0.3", "0.5"]),
        (" 1 , .7 ", ["0", "1", "0.7"]),
        ("0.3,plan.json", ["0", "0.3", "plan.json"]),
        (".5,50%,5e-1, 33.3%", ["0", "0.5", "0.333"]),
    ],
)
def test_sweep_starts_dense_and_repeats_nothing(text, entries):
    assert parse_sweep(text) == entries


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty entry"),
        ("0.3,", "empty entry"),
        ("1.1", "from 0 to 1"),
        ("101%", "from 0 to 1"),
        ("-0.5", "from 0 to 1"),
    ],
)
def test_sweep_refuses(text, words):
    with pytest.raises(PlanError, match=words):
        parse_sweep(text)


@pytest.mark.parametrize(
    ("text", "size"), [("672", (672, 672)), ("480x640", (480, 640)), (" 97 X 131 ", (97, 131)), ("1x1", (1, 1))]
)
def test_size_is_height_by_width(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0x5", "5x", "axb", "4x5x6", "-4x5", "1.5x2", "100000x2"])
def test_size_refuses(text):
    with pytest.raises(typer.BadParameter, match="HEIGHTxWIDTH"):
        parse_size(text)


@pytest.mark.parametrize(
    ("attempts", "timeout_ms", "wanted"),
    [
        (None, None, (5, False, 12.0, 8.0)),
        ("0", None, (0, False, 12.0, 8.0)),
        ("3", None, (3, True, 12.0, 8.0)),
        ("forever", 500, (None, True, 0.5, 0.5)),
        (None, 2500, (5, False, 2.5, 2.5)),
    ],
)
def test_when_a_source_is_opened_anew(attempts, timeout_ms, wanted):
    rule = options.parse_reconnect(attempts, timeout_ms)
    assert (rule.attempts, rule.before_first, rule.open_timeout_s, rule.read_timeout_s) == wanted


def test_the_default_is_as_patient_as_a_quarter_of_a_minute():
    rule = replace(options.parse_reconnect(None, None), jitter=0.0)
    assert sum(rule.wait_s(attempt) for attempt in range(1, rule.attempts + 1)) == 15.5


@pytest.mark.parametrize("attempts", ["-1", "1.5", "many", "", "1" * 5000])
def test_no_number_of_attempts(attempts):
    with pytest.raises(typer.BadParameter, match="is no number of attempts; give 0, 1, 2, ... or forever"):
        options.parse_reconnect(attempts, None)
