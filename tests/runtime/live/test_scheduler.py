import threading

import pytest

from sparsevit_runtime.live.channel import Closed
from sparsevit_runtime.live.scheduler import Scheduler


def lanes(count, limit=None):
    scheduler = Scheduler(limit)
    return scheduler, [scheduler.lane(8, replace=False) for _ in range(count)]


def test_sources_take_turns_and_one_alone_goes_on():
    scheduler, (one, other) = lanes(2)
    for i in range(4):
        one.put(f"a{i}")
    for i in range(2):
        other.put(f"b{i}")
    assert [scheduler.get() for _ in range(6)] == ["a0", "b0", "a1", "b1", "a2", "a3"]
    assert scheduler.get_if_any() is None


def test_whoever_was_served_last_comes_last():
    scheduler, (one, other, third) = lanes(3)
    other.put("b0")
    assert scheduler.get() == "b0"
    for lane, name in ((one, "a"), (other, "b"), (third, "c")):
        lane.put(name)
    assert [scheduler.get() for _ in range(3)] == ["c", "a", "b"]


@pytest.mark.parametrize("position", [0, 1])
def test_an_item_of_any_lane_wakes_the_taker(position):
    scheduler, both = lanes(2)
    taken = []
    taker = threading.Thread(target=lambda: taken.append(scheduler.get()))
    taker.start()
    both[position].put("late")
    taker.join(2)
    assert taken == ["late"]


def test_a_lane_that_ends_leaves_the_others_going():
    scheduler, (one, other) = lanes(2)
    one.put("a0")
    one.close(OSError("cable"))
    other.put("b0")
    assert [scheduler.get(), scheduler.get()] == ["a0", "b0"]
    assert scheduler.get_if_any() is None
    other.put("b1")
    assert scheduler.get() == "b1"
    other.close()
    with pytest.raises(Closed):
        scheduler.get()


def test_when_every_lane_failed_the_first_error_is_told_behind_the_items():
    scheduler, (one, other) = lanes(2)
    other.put("b0")
    one.close(OSError("first cable"))
    other.close(OSError("second cable"))
    assert scheduler.get() == "b0"
    with pytest.raises(OSError, match="first cable"):
        scheduler.get_if_any()


def test_a_limit_ends_all_lanes_and_leaves_the_rest_in_them():
    scheduler, (one, other) = lanes(2, limit=3)
    for i in range(3):
        one.put(f"a{i}")
        other.put(f"b{i}")
    assert [scheduler.get() for _ in range(3)] == ["a0", "b0", "a1"]
    for take in (scheduler.get, scheduler.get_if_any):
        with pytest.raises(Closed):
            take()
    assert scheduler.abandon() == ["a2", "b1", "b2"]
    with pytest.raises(Closed):
        one.put("a3")
