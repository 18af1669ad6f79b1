"""`sparsevit check`: what is printed of recorded outputs. What agrees: tests/runtime/diagnostics/test_checking.py."""

from __future__ import annotations

import pytest

from sparsevit_runtime.diagnostics import CheckReport


def test_an_exported_model_agrees(sparsevit, exported):
    said = sparsevit("check", exported.path)
    assert said.code == 0, said.err
    assert "small agrees on onnxruntime" in said.out
    report = CheckReport.model_validate_json(sparsevit("check", exported.path, "--json").out)
    assert report.agrees
    assert {output.run for output in report.outputs} == {0, 1, 2}
    assert said.out.count("agrees") == len(report.outputs) + 1  # each row, and the sentence


@pytest.mark.parametrize(
    ("error", "changes", "problem"), [(0.0005, None, None), (1.0, None, "agree"), (0.0, {"shape": (1, 8, 13)}, "shape")]
)
def test_what_differs_is_an_error_in_one_line(sparsevit, checked_model, error, changes, problem):
    said = sparsevit("check", checked_model(error=error, changes=changes), "--json")
    report = CheckReport.model_validate_json(said.out)
    assert report.agrees == (problem is None) == (said.code == 0)
    if problem:
        assert problem in report.worst.problem
        assert "labels of run 0 is the worst" in said.err
        assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("instead", "worst", "problem"),
    [
        ({"scores": [0.8, 0.5, 0.25]}, "scores", "0.0% of its 1 values agree"),
        ({"classes": [2, 2, 0]}, "classes", "0.0% of its 1 values agree"),
    ],
)
def test_the_worst_output_is_named(sparsevit, checked_model, instead, worst, problem):
    boxes = [(1.0, 2.0, 30.0, 20.0), (3.0, 4.0, 9.0, 8.0), (0.0, 0.0, 5.0, 5.0)]
    detector = {"task": "detection", "boxes": boxes, "scores": [0.9, 0.5, 0.25], "classes": [1, 2, 0]}
    said = sparsevit("check", checked_model(instead=instead, **detector))
    assert said.code == 1
    assert "differs" in said.out
    assert f"{worst} of run 0 is the worst" in said.err
    assert problem in said.err
