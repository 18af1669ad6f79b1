"""The governor on a simulated device: ramps, jitter, and a load that comes and goes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import pytest

from sparsevit_runtime.errors import ArgumentError
from sparsevit_runtime.graph.onnx_file import read_onnx
from sparsevit_runtime.live.governor import Governor, Target
from sparsevit_runtime.model import bundled_models
from sparsevit_runtime.windows.level import Level

RATIOS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
DENSE_MS = 40.0
#: Of a frame's latency, what no level shortens.
REST_MS = 5.0


@lru_cache
def levels() -> list[Level]:
    card = read_onnx(bundled_models()["street-scenes"]).card
    return [Level.resolve(card, ratio) for ratio in RATIOS]


def cost(share: float) -> float:
    return DENSE_MS * (0.2 + 0.8 * share)


def true_latency(level: Level, slowness: float) -> float:
    return cost(level.window_share) * slowness + REST_MS


class Device:
    """Frames one after the other, each as long as its level, the load and the dice say."""

    def __init__(self, target: Target, jitter: float = 0.05, seed: int = 0, **options) -> None:
        known = levels()
        self.governor = Governor(known, [cost(level.window_share) for level in known], target, **options)
        self.now_s = 0.0
        self.log: list[tuple[float, Level, float]] = []  # time, level, latency
        self._dice, self._jitter = random.Random(seed), jitter

    def run(self, seconds: float, slowness: float | Callable[[float], float] = 1.0) -> Device:
        """Runs for a time; `slowness` says how many times longer everything takes."""
        start = self.now_s
        while self.now_s < start + seconds:
            level = self.governor.level
            slow = slowness(self.now_s - start) if callable(slowness) else slowness
            inference = cost(level.window_share) * slow * self._dice.uniform(1 - self._jitter, 1 + self._jitter)
            self.now_s += inference / 1e3
            latency = inference + REST_MS
            self.log.append((self.now_s, level, latency))
            self.governor.observe(level, latency, inference, self.now_s)
        return self

    def since(self, at_s: float) -> list[tuple[float, Level, float]]:
        return [entry for entry in self.log if entry[0] >= at_s]

    def changes(self, since_s: float = 0.0) -> list[float]:
        """Times of the changes of the level."""
        log = self.since(since_s)
        return [now for (_, before, _), (now, after, _) in pairwise(log) if before != after]


def ninetieth(entries: list[tuple[float, Level, float]]) -> float:
    latencies = sorted(latency for _, _, latency in entries)
    return latencies[math.ceil(0.9 * len(latencies)) - 1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("jitter", [0.0, 0.05, 0.15])
def test_a_load_that_doubles_every_time_costs_three_seconds_at_most(seed, jitter):
    limit = 1.2 * true_latency(levels()[0], 1.0)
    device = Device(Target(latency_ms=limit), jitter, seed).run(5)
    assert device.governor.level.is_dense and not device.changes()
    device.run(20, slowness=2.0)
    assert ninetieth(device.since(8)) <= limit and all(
        ninetieth([e for e in device.since(8) if second <= e[0] < second + 1]) <= limit for second in range(8, 24)
    )
    # the lowest that holds: one with more windows leaves no room for jitter
    at = device.governor.levels.index(device.governor.level)
    assert true_latency(device.governor.levels[at - 1], 2.0) * (1 + 0.8 * jitter) > 0.9 * limit
    assert device.governor.met


def test_when_the_load_goes_the_windows_come_back_a_step_a_second():
    device = Device(Target(latency_ms=54)).run(5).run(10, slowness=2.0)
    pruned = device.governor.level
    start = device.now_s
    device.run(15)
    assert not pruned.is_dense and device.governor.level.is_dense
    ups = device.changes(start)
    assert all(after - before >= 1.0 for before, after in pairwise(ups))


@pytest.mark.parametrize("seed", range(4))
def test_at_rest_nothing_swings_whatever_the_speed(seed):
    """Also where a level is on the edge: it is tried more and more seldom."""
    for slowness in (1.0, 1.3, 1.5, 1.7, 2.0, 2.4, 3.0):
        device = Device(Target(latency_ms=54), 0.1, seed).run(90, slowness)
        assert len(device.changes(10)) <= 8, slowness
        assert len(device.changes(50)) <= 2, slowness
        assert ninetieth(device.since(5)) <= 54, slowness


def test_a_device_that_gets_slower_bit_by_bit_is_followed():
    limit = 54
    device = Device(Target(latency_ms=limit)).run(60, slowness=lambda s: 1 + s / 30)
    assert ninetieth(device.log) <= limit
    shares = [level.window_share for _, level, _ in device.log]
    assert shares == sorted(shares, reverse=True)


def test_one_slow_frame_now_and_then_is_no_reason():
    device = Device(Target(latency_ms=54), 0.05)
    for _ in range(20):
        device.run(1)
        device.governor.observe(device.governor.level, 300.0, 295.0, device.now_s)
    assert not device.changes()


def test_a_target_beyond_every_level_is_told_and_left_when_the_load_goes():
    device = Device(Target(latency_ms=20)).run(3, slowness=3.0)
    assert not device.governor.met and "no level is faster" in device.governor.reason
    assert device.governor.level == device.governor.levels[-1]
    device.run(10, slowness=0.5)
    assert device.governor.met and device.governor.level.window_share > levels()[-1].window_share


def test_frames_per_second_are_a_target_as_well():
    device = Device(Target(fps=30)).run(20)
    entries = device.since(3)
    assert len(entries) / (entries[-1][0] - entries[0][0]) >= 30
    at = device.governor.levels.index(device.governor.level)
    assert 1e3 / cost(device.governor.levels[at - 1].window_share) < 30 / 0.9


def test_while_the_clocks_are_held_back_nothing_is_raised():
    hot = ["thermal"]
    device = Device(Target(latency_ms=54), held_back=lambda: hot[0]).run(3, slowness=2.0)
    pruned = device.governor.level
    device.run(5)
    assert device.governor.level == pruned and "held back: thermal" in device.governor.reason
    hot[0] = None
    assert device.run(15).governor.level.is_dense


def test_switched_off_it_keeps_the_level_and_switched_on_it_goes_on():
    device = Device(Target(latency_ms=54))
    device.governor.enabled = False
    device.run(3, slowness=2.0)
    assert device.governor.level.is_dense
    device.governor.enabled = True
    assert not device.run(3, slowness=2.0).governor.level.is_dense
    assert device.governor.changes["down"] >= 1


def test_frames_of_another_level_say_nothing():
    governor = Device(Target(latency_ms=54)).governor
    other = governor.levels[-1]
    assert not any(governor.observe(other, 500.0, 500.0, i / 10) for i in range(50))
    assert governor.level.is_dense


@pytest.mark.parametrize(
    "make",
    [
        lambda: Target(),
        lambda: Target(latency_ms=0),
        lambda: Target(fps=float("nan")),
        lambda: Target(latency_ms="50"),
        lambda: Governor([], [], Target(fps=1)),
        lambda: Governor(levels()[:2], [1.0], Target(fps=1)),
        lambda: Governor(levels()[:1], [0.0], Target(fps=1)),
    ],
)
def test_bad_arguments(make):
    with pytest.raises(ArgumentError):
        make()


def test_a_level_that_was_measured_slower_than_one_with_more_windows_is_no_trap():
    known = levels()[:3]
    governor = Governor(known, [40.0, 44.0, 20.0], Target(latency_ms=54))
    for i in range(40):  # twice as slow as measured
        governor.observe(governor.level, 85.0 if governor.level != known[2] else 45.0, 80.0, i / 10)
    assert governor.level == known[2]
