from __future__ import annotations

import math

import pytest

import recorded
from sparsevit_runtime import diagnostics
from sparsevit_runtime.errors import ModelError
from sparsevit_runtime.model import load
from told import Told


def check(path):
    with load(path, threads=1) as model:
        return diagnostics.check(model)


@pytest.mark.parametrize(
    ("properties", "error", "changes", "problem"),
    [
        ({}, 0.0, None, None),
        ({}, 0.0005, None, None),
        ({"layout": "normalized"}, 0.0, None, None),
        ({"fixed": ((0.5, 0.5), (0.0, 0.0, 0.5, 0.5))}, 0.0, None, None),
        ({"matrix": True}, 0.0, None, None),  # of zeros
        ({}, 1.0, None, "agree"),
        ({}, 1.0, {"atol": 1.0}, None),
        ({}, 1.0, {"min_agreement": 0.0}, None),
        ({}, 0.0, {"shape": (1, 8, 13)}, "shape"),
    ],
)
def test_agreement_follows_the_record(tmp_path, properties, error, changes, problem):
    report = check(recorded.write_model(tmp_path, error, changes, **properties))
    assert report.agrees == (problem is None)
    assert (report.worst.output, report.worst.run) == ("labels", 0)
    assert problem is None or problem in report.worst.problem
    assert (report.model, report.device) == ("tiny", "cpu") and report.library.startswith("onnxruntime ")


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
def test_the_worst_output_is_found(tmp_path, instead, worst, problem):
    report = check(recorded.write_model(tmp_path, instead=instead, **DETECTOR))
    assert report.agrees == (worst is None)
    if worst is not None:
        assert report.worst.output == worst and problem in report.worst.problem


def test_progress_tells_the_runs(features):
    told = Told()
    with load(features, threads=1) as model:
        assert diagnostics.check(model, told).agrees
    assert told.pieces == [("checking", 3)] and told.done == [1, 2, 3]


def test_a_card_without_records(tiny_model):
    with pytest.raises(ModelError, match="no recorded outputs, so there is nothing to compare; export the model again"):
        check(tiny_model())
