import threading

import pytest

from sparsevit_runtime.live.channel import Closed
from sparsevit_runtime.live.metrics import Counters, Rate, StageTime


def test_counts_add_up_at_every_snapshot_while_threads_count():
    counters, go = Counters(), threading.Event()
    frames_each, ends = 500, (Counters.drop, Counters.fail, lambda c: c.process({"inference": 1.0}))

    def count(end):
        go.wait()
        for _ in range(frames_each):
            counters.capture()
            end(counters)

    threads = [threading.Thread(target=count, args=(end,)) for end in ends]
    for thread in threads:
        thread.start()
    go.set()
    snapshots = []
    while any(thread.is_alive() for thread in threads):
        snapshots.append(counters.snapshot())
    assert all(0 <= s.in_flight <= len(threads) for s in snapshots)
    last = counters.snapshot()
    assert (last.captured, last.processed, last.dropped, last.failed, last.in_flight) == (
        3 * frames_each, frames_each, frames_each, frames_each, 0,
    )  # fmt: skip


def test_times_of_the_stages():
    counters = Counters()
    for inference in (4.0, 2.0):
        counters.capture()
        counters.process({"inference": inference, "latency": 10.0})
    stages = counters.snapshot().stages
    assert stages["inference"] == StageTime(count=2, total_ms=6.0, last_ms=2.0, max_ms=4.0)
    assert (stages["inference"].mean_ms, stages["latency"].mean_ms, StageTime().mean_ms) == (3.0, 10.0, 0.0)


def test_a_snapshot_does_not_change():
    counters = Counters()
    before = counters.snapshot()
    counters.capture()
    counters.process({"inference": 1.0})
    assert (before.captured, before.stages, before.last_frame_ns) == (0, {}, None)


def test_after_the_end_no_frame_is_counted_any_more():
    counters = Counters()
    counters.capture()
    counters.drop()
    counters.seal()
    with pytest.raises(Closed):
        counters.capture()
    assert counters.snapshot().captured == 1


def test_a_rate_is_that_of_late():
    rate = Rate()
    assert rate.tick(10.0) is None
    assert rate.tick(10.04) == pytest.approx(25)
    for i in range(100):
        told = rate.tick(10.04 + 0.1 * (i + 1))
    assert told == pytest.approx(10, rel=0.02)
    assert rate.tick(20.04) > 0  # at once
