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
from sparsevit_runtime.live.failures import Failure
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


def alternating(at: int) -> float:
    """Levels that cost more than was measured, as much, and less: one that is expected to hold may not."""
    return 1 + 0.07 * ((at * 7) % 3 - 1)


class Device:
    """Frames one after the other, each as long as its level, the load and the dice say.

    Frames come at `fps`, or as fast as they are run; `wrong` says by level how many times more it costs than was
    measured; `wander` is how far the speed strays for a second or so.
    """

    def __init__(
        self,
        target: Target,
        jitter: float = 0.05,
        seed: int = 0,
        *,
        fps: float = math.inf,
        wrong: Callable[[int], float] = lambda at: 1.0,
        wander: float = 0.0,
        **options,
    ) -> None:
        known = levels()
        self._period_s, self._wrong, self._wander, self._strayed = 1 / fps, wrong, wander, 0.0
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
            self._strayed = 0.9 * self._strayed + self._dice.gauss(0, 0.44 * self._wander)
            inference *= self._wrong(self.governor.levels.index(level)) * math.exp(self._strayed)
            self.now_s += max(self._period_s, inference / 1e3)
            latency = inference + REST_MS
            self.log.append((self.now_s, level, latency))
            self.governor.observe(level, latency, inference, self.now_s)
        return self

    def since(self, at_s: float) -> list[tuple[float, Level, float]]:
        return [entry for entry in self.log if entry[0] >= at_s]

    def most_changes(self, seconds: float, since_s: float) -> int:
        """Changes of the level in so many seconds, where there are most."""
        times = self.changes(since_s)
        return max((sum(at <= time < at + seconds for time in times) for at in times), default=0)

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


@pytest.mark.parametrize("fps", [10, 30])
@pytest.mark.parametrize("slowness", [1.0, 1.2, 1.35, 1.5, 1.7, 2.0, 2.4])
def test_at_rest_nothing_swings_whatever_the_speed(slowness, fps):
    """Also where a level that is expected to hold does not: it is tried more and more seldom."""
    for seed in range(2):
        device = Device(Target(latency_ms=54), 0.1, seed, fps=fps, wrong=alternating).run(120, slowness)
        assert device.most_changes(20, since_s=5) <= 4
        assert len(device.changes(60)) <= 4  # two attempts in a minute
        assert ninetieth(device.since(5)) <= 54


@pytest.mark.parametrize("slowness", [1.2, 1.5, 2.0])
def test_a_speed_that_wanders_is_followed_without_haste(slowness):
    """By a fifth within seconds, which is more than between two levels."""
    for seed in range(3):
        device = Device(Target(latency_ms=54), 0.05, seed, fps=10, wander=0.1).run(120, slowness)
        assert device.most_changes(20, since_s=5) <= 8 and len(device.changes(5)) <= 25
        assert ninetieth(device.since(5)) <= 54


@pytest.mark.parametrize("fps", [5, 10, 30])
@pytest.mark.parametrize("wrong", [lambda at: 1.0, alternating])
def test_a_load_that_comes_and_goes_finds_the_same_level_every_time(fps, wrong):
    device = Device(Target(latency_ms=54), 0.05, fps=fps, wrong=wrong).run(20)
    free, loaded = [], []
    for _ in range(6):
        start = device.run(20, slowness=2.0).now_s - 20
        assert ninetieth(device.since(start + 3)) <= 54
        loaded.append(device.governor.levels.index(device.governor.level))
        device.run(20)
        free.append(device.governor.levels.index(device.governor.level))
    assert max(free) == 0  # dense holds
    holds = [at for at in range(len(RATIOS)) if 2.0 * wrong(at) * cost(levels()[at].window_share) + REST_MS <= 0.9 * 54]
    assert max(loaded) <= holds[0] + 1 and max(loaded) - min(loaded) <= 1


def test_what_holds_frames_up_for_a_moment_changes_nothing():
    """A tenth of a second every two: at ten frames a second it is one of twenty, at thirty three in a row."""
    for fps in (10, 30):
        device = Device(Target(latency_ms=54), 0.05, fps=fps)
        for _ in range(30):
            device.run(1.9)
            for _ in range(fps // 10):
                device.now_s += 1 / fps
                device.governor.observe(device.governor.level, 120.0, 115.0, device.now_s)
        assert not device.changes()


def test_two_of_three_frames_that_are_late_are_seen_although_they_are_never_three_in_a_row():
    governor = Device(Target(latency_ms=54)).governor
    for i in range(30):
        latency = 30.0 if i % 3 == 0 else 70.0
        governor.observe(governor.level, latency, latency - REST_MS, i / 10)
    assert not governor.level.is_dense


class TestFailure:
    def test_it_is_tried_again_after_a_wait_that_doubles_up_to_a_limit(self):
        failure, now, waits = None, 0.0, []
        for _ in range(6):
            failure = Failure.of(1.05, now, held_s=1.0, before=failure)
            failure.see(3, 2.0, now)
            assert not failure.may_be_tried(now) and not failure.may_be_tried(now + failure.wait_s - 0.1)
            assert failure.may_be_tried(now + failure.wait_s)
            waits.append(failure.wait_s)
            now += failure.wait_s + 1
        assert waits == [10, 20, 40, 80, 160, 160]

    def test_one_that_held_for_long_failed_for_another_reason(self):
        again = Failure.of(1.05, 100.0, held_s=9.0, before=Failure.of(1.05, 50.0, 1.0, None))
        assert again.wait_s == 20
        assert Failure.of(1.05, 100.0, held_s=41.0, before=again).wait_s == 10

    @pytest.mark.parametrize(("share", "faster", "may"), [(1.05, 0.9, False), (1.05, 0.8, True), (1.6, 0.8, False)])
    def test_a_machine_that_has_become_fast_enough_for_it_shortens_the_wait(self, share, faster, may):
        failure = Failure.of(share, 0.0, 1.0, None)
        failure.see(3, 2.0, 1.0)
        failure.see(3, 2.0 * faster, 2.0)
        assert not failure.may_be_tried(2.9)
        assert failure.may_be_tried(3.1) is may

    def test_a_moment_of_speed_does_not(self):
        failure = Failure.of(1.05, 0.0, 1.0, None)
        for now in (1.0, 3.0, 5.0, 7.0):
            failure.see(3, 2.0, now)
            failure.see(3, 1.0, now + 1)
            assert not failure.may_be_tried(now + 1.9)

    def test_what_a_level_always_takes_is_no_speed(self):
        failure = Failure.of(1.05, 0.0, 1.0, None)
        failure.see(5, 2.0, 1.0)
        failure.see(4, 1.6, 2.0)  # another level, measured as slower than it is
        assert not failure.may_be_tried(9.9)

    def test_a_machine_that_is_faster_by_far_is_seen_at_another_level_too(self):
        failure = Failure.of(1.05, 0.0, 1.0, None)
        failure.see(5, 2.0, 1.0)
        failure.see(4, 1.0, 2.0)
        assert failure.may_be_tried(3.1)


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
