from __future__ import annotations

from sparsevit_runtime import diagnostics
from sparsevit_runtime.model import load


def test_a_model_describes_itself(features):
    with load(features, threads=1) as model:
        report = diagnostics.inspect(model, features)
        assert set(report.outputs) == set(model.backend.output_names) and report.card == model.card
    assert report.file == str(features) and report.file_bytes == features.stat().st_size
    assert [s.tokens_hw for s in report.stages] == [(24, 32), (12, 16), (6, 8), (3, 4)]
    assert [s.windows for s in report.stages] == [20, 6, 2, 1]
    assert [s.pixels for s in report.stages] == [28, 56, 112, 224]
    assert [s.pairs for s in report.stages] == [1, 1, 1, 1]
    assert [c.sparsity for c in report.costs] == [0.0, 0.3, 0.5, 0.6, 0.7]
    assert report.costs[0].share == 1.0 and report.costs[2].keep == (10, 3, 1, 0)
    assert all(a.macs > b.macs for a, b in zip(report.costs, report.costs[1:]))


def test_fixed_plan_with_unequal_pairs(tiny_model):
    path = tiny_model(fixed=((0.0, 0.5), (0.25, 0.25, 0.5, 0.5)))
    with load(path, threads=1) as model:
        (cost,) = diagnostics.inspect(model, path).costs
    assert (cost.sparsity, cost.keep) == (None, None)
    assert 0 < cost.share < 1
