from __future__ import annotations

import math

import pytest

from sparsevit_apps.checking import CheckReport


def test_an_exported_model_agrees(sparsevit, exported):
    said = sparsevit("check", exported.path)
    assert said.code == 0, said.err
    assert "small agrees on onnxruntime" in said.out
    report = CheckReport.model_validate_json(sparsevit("check", exported.path, "--json").out)
    assert report.agrees
    assert {output.run for output in report.outputs} == {0, 1, 2}
    assert said.out.count("agrees") == len(report.outputs) + 1  # each row, and the sentence


@pytest.mark.parametrize(
    ("properties", "error", "changes", "problem"),
    [
        ({}, 0.0, None, None),
        ({}, 0.0005, None, None),
        ({"layout": "normalized"}, 0.0, None, None),
        ({"fixed": ((0.5, 0.5), (0.0, 0.0, 0.5, 0.5))}, 0.0, None, None),
        ({}, 1.0, None, "agree"),
        ({}, 1.0, {"atol": 1.0}, None),
        ({}, 1.0, {"min_agreement": 0.0}, None),
        ({}, 0.0, {"shape": (1, 8, 13)}, "shape"),
    ],
)
def test_agreement_follows_the_record(sparsevit, checked_model, properties, error, changes, problem):
    said = sparsevit("check", checked_model(error, changes, **properties), "--json")
    report = CheckReport.model_validate_json(said.out)
    assert report.agrees == (problem is None) == (said.code == 0)
    if problem:
        assert problem in report.worst.problem
        assert "labels of run 0 is the worst" in said.err
        assert said.err.count("\n") == 1


BOXES = [(1.0, 2.0, 30.0, 20.0), (3.0, 4.0, 9.0, 8.0), (0.0, 0.0, 5.0, 5.0)]
DETECTOR = {"task": "detection", "boxes": BOXES, "scores": [0.9, 0.5, 0.25], "classes": [1, 2, 0]}


@pytest.mark.parametrize(
    ("instead", "worst", "problem"),
    [
        ({"scores": [0.9, 0.5, 0.75]}, None, None),  # every third value is recorded
        ({"scores": [0.8, 0.5, 0.25]}, "scores", "0.0% of its 1 values agree"),
        ({"classes": [2, 2, 0]}, "classes", "0.0% of its 1 values agree"),
        ({"boxes": [(1.5, 2.0, 30.0, 20.0), *BOXES[1:]]}, "boxes", "75.0% of its 4 values agree"),
        ({"boxes": [(math.nan, 2.0, 30.0, 20.0), *BOXES[1:]]}, "boxes", "1 of its 12 values are not finite"),
        ({"boxes": BOXES[:2], "scores": [0.9, 0.5], "classes": [1, 2]}, "boxes", "recorded is (1, 3, 4)"),
        ({"boxes": [(9.0, 2.0, 30.0, 20.0), *BOXES[1:]], "scores": [0.8, 0.5, 0.25]}, "scores", "0.0%"),
    ],
)
def test_the_worst_output_is_named(sparsevit, checked_model, instead, worst, problem):
    said = sparsevit("check", checked_model(instead=instead, **DETECTOR))
    if worst is None:
        assert said.code == 0, said.err
        return
    assert said.code == 1
    assert "differs" in said.out
    assert f"{worst} of run 0 is the worst" in said.err
    assert problem in said.err
