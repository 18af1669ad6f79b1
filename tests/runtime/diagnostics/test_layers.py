from __future__ import annotations

import pytest

from sparsevit_runtime.diagnostics import profile
from sparsevit_runtime.diagnostics.layers import group_layers
from sparsevit_runtime.model import load

RUNS = [
    [("attention/qkv", 2.0), ("mlp/expand", 1.0), ("attention/proj", 3.0), ("reshape", 1.0)],
    [("attention/qkv", 4.0), ("mlp/expand", 3.0), ("attention/proj", 5.0), ("reshape", 1.0)],
]


def test_layers_are_added_within_a_run_and_their_median_is_taken_over_the_runs():
    parts = group_layers(RUNS)
    assert [(p.part, p.ms, p.layers) for p in parts] == [("attention", 7.0, 2), ("mlp", 2.0, 1), ("other", 1.0, 1)]
    assert [p.share for p in parts] == [0.7, 0.2, 0.1]


def test_a_part_that_is_missing_in_a_run_took_no_time_there():
    (head,) = (p for p in group_layers([[("head/conv", 4.0)], [("mlp/expand", 1.0)]]) if p.part == "head")
    assert (head.ms, head.layers) == (2.0, 1)


def test_no_layers():
    assert group_layers([[]]) == ()


def test_a_profile_names_the_parts_of_the_network(features):
    with load(features, threads=1) as model:
        report = profile(
            model, ["0", "0.5"], iterations=1, warm_up=0, source="synthetic://street?size=96x64&frames=2", layers=True
        )
    for entry in report.entries:
        assert {"attention", "mlp", "gather", "scatter"} <= {part.part for part in entry.parts}
        assert sum(part.share for part in entry.parts) == pytest.approx(1.0, abs=1e-3)
        assert [part.ms for part in entry.parts] == sorted((part.ms for part in entry.parts), reverse=True)
