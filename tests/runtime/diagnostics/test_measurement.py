from __future__ import annotations

import pytest

from sparsevit_runtime.diagnostics.measurement import EnergyUse, Stats
from sparsevit_runtime.power import Energy


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([4.0], {"count": 1, "mean": 4, "min": 4, "max": 4, "p50": 4, "p90": 4, "p95": 4, "p99": 4, "cov": 0}),
        (range(101), {"count": 101, "mean": 50, "min": 0, "max": 100, "p50": 50, "p90": 90, "p95": 95, "p99": 99}),
        ([1.0, 3.0], {"count": 2, "mean": 2, "p50": 2, "cov": 0.5}),
        ([0.0, 0.0], {"mean": 0, "cov": 0}),
    ],
)
def test_statistics(samples, expected):
    assert Stats.of(list(samples)).model_dump(include=set(expected)) == expected


@pytest.mark.parametrize(
    ("energy", "idle_watts", "expected"),
    [
        (Energy(), None, (None, None, None)),
        (Energy(seconds=2.0, samples=3, joules=20.0), None, (2000.0, None, 10.0)),
        (Energy(seconds=2.0, samples=3, joules=20.0), 4.0, (2000.0, 1200.0, 10.0)),
        (Energy(seconds=2.0, samples=3), 4.0, (None, None, None)),  # sensors without power
    ],
)
def test_energy_per_frame(energy, idle_watts, expected):
    use = EnergyUse.of(energy, 10, idle_watts)
    assert (use.mj_per_frame, use.mj_above_idle, use.mean_watts) == expected
    assert (use.frames, use.seconds) == (10, energy.seconds)
