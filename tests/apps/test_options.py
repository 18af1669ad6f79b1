from __future__ import annotations

import pytest
import typer

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
