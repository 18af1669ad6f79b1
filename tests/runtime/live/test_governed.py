"""Sessions whose level a governor chooses, and frames that are too old."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import tiny
from runtime.live.devices import Device
from sparsevit_runtime.errors import ArgumentError, PlanError
from sparsevit_runtime.live.governor import Governor, Target
from sparsevit_runtime.live.levels import govern, measure_levels
from sparsevit_runtime.live.outlet import Outlet, Pull
from sparsevit_runtime.live.session import Session
from sparsevit_runtime.windows.plan import Plan

pytestmark = pytest.mark.timed


@pytest.fixture
def runner(make_model):
    return make_model().runner


@pytest.fixture
def levels(runner):
    return [runner.level(ratio) for ratio in (0.0, 0.5, 0.75)]


def pictures(count):
    return [np.full((40, 60, 3), 32 * i % 256, np.uint8) for i in range(count)]


def test_a_target_beyond_reach_ends_at_the_fewest_windows_and_every_result_says_why(runner, levels):
    results = Pull(2)
    governor = Governor(levels, [4.0, 2.0, 1.0], Target(latency_ms=1e-3))
    with Session(runner, pictures(24), [results], governor=governor) as session:
        taken = [delivery.result for delivery in results]
        assert session.governor is governor and session.level == levels[2]
    kept = [result.keep for result in taken]
    assert kept[0] == levels[0].kept and kept[-1] == levels[2].kept
    change = kept.index(levels[2].kept)
    assert kept == [levels[0].kept] * change + [levels[2].kept] * (24 - change)
    assert taken[0].level_reason == "start, for 0.001 ms" and "no level is faster" in taken[-1].level_reason
    assert taken[-1].to_dict()["level_reason"] == taken[-1].level_reason


def test_a_target_that_is_met_changes_nothing(runner, levels):
    results = Pull(2)
    governor = Governor(levels, [4.0, 2.0, 1.0], Target(latency_ms=1e6))
    with Session(runner, pictures(30), [results], governor=governor):
        assert {delivery.result.keep for delivery in results} == {levels[0].kept}
    assert governor.changes == {"up": 0, "down": 0} and governor.met


def test_who_sets_a_level_switches_the_governor_off_and_may_switch_it_on_again(runner, levels):
    results = Pull(0)
    governor = Governor(levels, [4.0, 2.0, 1.0], Target(latency_ms=1e-3))
    with Session(runner, pictures(60), [results], governor=governor) as session:
        for _ in range(12):
            next(results)
        session.level = 0.0
        assert not governor.enabled
        taken = [next(results).result for _ in range(12)]
        assert taken[-1].keep == levels[0].kept and taken[-1].level_reason == ""
        governor.enabled = True
        taken = [delivery.result for delivery in results]
        assert taken[-1].keep == levels[2].kept and taken[-1].level_reason


def test_a_level_and_a_governor_are_refused(runner, levels):
    governor = Governor(levels, [4.0, 2.0, 1.0], Target(latency_ms=50))
    with pytest.raises(ArgumentError, match="not both"):
        Session(runner, pictures(1), level=0.5, governor=governor)
    with pytest.raises(ArgumentError, match="max_age_ms"):
        Session(runner, pictures(1), max_age_ms=0)


@pytest.mark.parametrize("max_age_ms", [None, 150])
@pytest.mark.parametrize("live", [True, False])
def test_frames_of_a_camera_that_are_too_old_are_dropped_those_of_a_file_never(runner, live, max_age_ms):
    """The consumer holds the pipeline up, so that the last frame gets old where it waits for the model."""
    busy, free, seen = threading.Event(), threading.Event(), []

    def hold(result, picture):
        seen.append(result.frame_index)
        busy.set()
        assert free.wait(10)

    source = Device([100, "wait"]).open if live else iter(pictures(100))
    session = Session(runner, source, [Outlet(hold, may_block=True, pictures=False)], max_age_ms=max_age_ms)
    with session:
        assert busy.wait(10)
        time.sleep(0.6)
        free.set()
        if live:
            time.sleep(0.3)
            session.stop()
        session.wait(10)
    assert (seen[-1] == 99) == (not live or max_age_ms is None)
    assert live or seen == list(range(100))
    (counts,) = session.metrics.sources.values()
    assert counts.captured == counts.processed + counts.dropped == 100 and counts.processed == len(seen)


def test_levels_are_measured_in_turn_and_equal_ones_are_one(runner, levels):
    governor = govern(runner, Target(latency_ms=50), [0.5, 0.0, "0.5", 0.75, [0.5, 0.5]], activity=True)
    assert [level.kept for level in governor.levels] == [level.kept for level in levels]
    assert all(cost > 0 for cost in measure_levels(runner, levels, rounds=1))


def test_a_fixed_export_has_nothing_to_choose(make_model):
    with pytest.raises(PlanError, match="without --fixed"):
        govern(make_model(fixed=Plan.uniform(0.5, tiny.DEPTHS).ratios).runner, Target(fps=1))
