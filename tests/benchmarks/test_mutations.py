"""The search for errors that nobody meant, for a moment; `benchmarks/mutations.py` goes on for longer."""

from __future__ import annotations

import pytest

from mutations import watch


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["plan", "card", "engine", "onnx", "image", "uri", "carried_card", "coco", "recipe", "checkpoint"]
)
def test_broken_inputs_are_refused_with_errors_that_were_meant(kind):
    found = watch(kind, seed=7, count=60, shown=3)
    assert set(found) <= {"taken", "refused"} and sum(found.values()) == 60 and found["refused"] >= 10


def test_the_same_number_is_the_same_case_and_findings_are_found(capsys):
    assert watch("plan", 1, 20, 0) == watch("plan", 1, 20, 0)
    found = watch("no_such_kind", 0, 1, 0)
    assert found["ended: 1"]  # a process that dies is told
    assert not capsys.readouterr().out
