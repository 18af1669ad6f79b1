"""What comes from a card or a file's name does nothing to the terminal, and is no markup."""

from __future__ import annotations

import json
import logging
import re

import pytest

import tiny
from sparsevit_apps.console import facts, make_warnings_printable, print_error, stderr, stdout

EVIL = "\x1b]0;owned\x07\x1b[2J[/foo][bold]:smile:\u202e\x9b31m"
SHOWN = r"\x1b]0;owned\x07\x1b[2J[/foo][bold]:smile:\u202e\x9b31m"


def harmless(text: str) -> bool:
    return not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


@pytest.fixture
def evil_model(tmp_path):
    """Everything in its card that is a text, and the name of the file."""
    document = tiny.card_document()
    document["name"] = document["producer"] = EVIL
    document["classes"][0]["name"] = EVIL
    document["metrics"] = [{"name": EVIL, "dataset": EVIL, "ratio": 0.5, "value": 1, "unit": EVIL}]
    document["training"] = {"data": EVIL, "licence": EVIL, "recipe": EVIL}
    return tiny.write_model(tmp_path / f"{EVIL.replace('/', '')}.onnx", card=json.dumps(document))


def test_a_card_is_shown_harmless(sparsevit, evil_model):
    said = sparsevit("inspect", evil_model)
    assert said.code == 0 and harmless(said.out)
    assert said.out.count(SHOWN) == 9, said.out  # name, maker, a class, three of a metric, three of the training
    assert said.out.count(SHOWN[:20]) == 10  # and, cut short, the file
    said = sparsevit("inspect", evil_model, "--json")
    assert said.code == 0 and harmless(said.out)
    assert json.loads(said.out)["card"]["name"] == EVIL  # JSON stays exact


@pytest.mark.parametrize(
    "command",
    [
        ["run", "synthetic://street?frames=1", "null://", "--model", "MODEL"],
        ["check", "MODEL"],
        ["profile", "MODEL", "--rounds", "1"],
        ["run", "synthetic://street?frames=1", "null://", "--model", "MODEL", "--stage", "9"],
        ["run", EVIL, "null://"],
        ["run", "synthetic://street", f"{EVIL}.xyz"],
        ["run", "synthetic://street", "null://", "--model", EVIL],
        ["run", "synthetic://street", "null://", "--sparsity", EVIL],
        ["run", "synthetic://street", "null://", "--backend", EVIL],
        ["build", EVIL, "-o", EVIL],
        ["inspect", f"--{EVIL}"],
        [EVIL],
    ],
    ids=lambda command: " ".join(command[:3]).replace(EVIL, "EVIL"),
)
def test_what_a_command_says_is_harmless(sparsevit, evil_model, command):
    said = sparsevit(*(str(evil_model) if part == "MODEL" else part for part in command))
    assert said.out + said.err and harmless(said.out) and harmless(said.err), (said.out, said.err)


def test_tables_errors_and_warnings_are_harmless(capsys):
    stdout().print(facts([("name", EVIL)], title=EVIL))
    print_error(EVIL)
    stderr().print(EVIL)
    make_warnings_printable()
    logging.lastResort.handle(logging.LogRecord("x", logging.WARNING, "", 0, "skipped %s", (EVIL,), None))
    out, err = capsys.readouterr()
    assert harmless(out) and harmless(err)
    assert out.count(SHOWN) == 2 and err.count(SHOWN) == 3
