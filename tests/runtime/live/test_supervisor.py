import logging
import threading
import time
from dataclasses import replace

import pytest

from runtime.live.devices import Camera, Device
from sparsevit_runtime.errors import PermanentSourceError, SourceError, SourceNotFoundError
from sparsevit_runtime.live.states import SourceState
from sparsevit_runtime.live.supervisor import Reconnect, Supervisor

pytestmark = pytest.mark.timed

QUICK = Reconnect(open_timeout_s=0.05, read_timeout_s=0.05, first_wait_s=0.001, longest_wait_s=0.002)
CONNECTING, STARTING, LIVE, STALLED, LOST, ENDED = SourceState


@pytest.fixture
def supervise():
    """Makes a supervisor of a device, whose states are recorded in `states`; closes it at the end."""
    made = []

    def make(device, reconnect=None, **options):
        supervisor = Supervisor(device.open, reconnect, **options)
        supervisor.states = []
        supervisor.tracker.listen(lambda status: supervisor.states.append(status.state))
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        supervisor.close()


def test_frames_pass_as_the_driver_gives_them(supervise):
    device = Device([5])
    supervisor = supervise(device)
    frames = list(supervisor)
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert all(frame.image is image for frame, image in zip(frames, device.given))
    assert (supervisor.name, supervisor.size_wh, supervisor.fps) == ("camera", (8, 6), 30.0)
    assert supervisor.states == [STARTING, LIVE, ENDED]
    assert supervisor.read() is None and device.opened == 1


def test_nothing_is_opened_before_the_first_read(supervise):
    device = Device([1])
    supervisor = supervise(device)
    assert supervisor.tracker.status.state is CONNECTING
    supervisor.close()
    assert device.opened == 0 and supervisor.read() is None


def test_a_source_that_is_open_already_is_read_first_and_closed_unread(supervise):
    device = Device([2])
    first = device.open()
    supervisor = supervise(device, first=first)
    assert (supervisor.name, supervisor.size_wh) == ("camera", (8, 6))
    assert len(list(supervisor)) == 2 and device.opened == 1 and first.closers == {"sparsevit-driver"}
    unread = device.open()
    supervise(device, first=unread).close()
    assert unread.closed.is_set()


@pytest.mark.parametrize("device", [Device([3, "hang"], [4]), Device([3, OSError("bus reset")], [4])])
def test_a_driver_that_hangs_or_breaks_is_left_and_the_source_opened_anew(supervise, device, caplog):
    supervisor = supervise(device, replace(QUICK, read_timeout_s=0.5), stalled_after_s=0.2)
    frames = list(supervisor)
    assert [f.index for f in frames] == list(range(7))
    assert all(frame.image is image for frame, image in zip(frames, device.given)) and len(device.given) == 7
    assert (supervisor.reconnects, device.opened) == (1, 2)
    stalled = [STALLED] if device.hanging else []
    assert supervisor.states == [STARTING, LIVE, *stalled, LOST, CONNECTING, STARTING, LIVE, ENDED]
    assert "live (reconnect 1)" in caplog.text


def test_an_outage_is_told_once_however_many_attempts_it_takes(supervise, caplog):
    device = Device([2, OSError("unplugged")], *[[OSError("no such device")]] * 4, [1])
    assert len(list(supervise(device, QUICK))) == 3 and device.opened == 6
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text.split(":")[1].split()[0] for text in told] == ["lost", "live"]


def test_an_opening_that_hangs_is_left_too(supervise):
    device = Device([1], hang_open=(0, 1))
    supervisor = supervise(device, QUICK)
    assert len(list(supervisor)) == 1
    assert device.opened == 3
    assert supervisor.states == [LOST, CONNECTING, LOST, CONNECTING, STARTING, LIVE, ENDED]
    assert supervisor.reconnects == 0  # it was never there before


def test_a_source_left_behind_is_closed_when_its_driver_returns(supervise, soon):
    device = Device([1, "hang"], [1])
    supervisor = supervise(device, QUICK)
    supervisor.read()
    (first,) = device.sources
    assert supervisor.read().index == 1
    assert "sparsevit-driver" not in first.closers
    device.let_go()
    soon(lambda: "sparsevit-driver" in first.closers)


def test_a_hundred_hanging_drivers_leave_threads_and_memory_bounded(supervise, soon):
    device = Device([1, "hang"])
    policy = Reconnect(read_timeout_s=0.002, first_wait_s=0.0, longest_wait_s=0.0, most_hanging=4)
    supervisor = supervise(device, policy)
    threads, sources = [], []
    for _ in range(101):
        assert supervisor.read() is not None
        threads.append(sum(t.name.startswith("sparsevit-") for t in threading.enumerate()))
        sources.append(len(device.sources))
        held = [event for event in device.hanging if not event.is_set()]
        if len(held) >= 3:  # some time later the oldest call returns after all
            held[0].set()
    assert supervisor.reconnects == 100 and device.opened >= 101
    assert max(threads) <= 2 * 4 + 1 and max(sources) <= 4 + 1


def test_no_more_than_so_many_calls_hang_at_once(supervise, soon, caplog):
    device = Device([1, "hang"])
    supervisor = supervise(device, Reconnect(read_timeout_s=0.002, first_wait_s=0.0, most_hanging=3))
    frames = []
    reader = threading.Thread(target=lambda: frames.extend(supervisor))
    reader.start()
    soon(lambda: "3 calls hang" in caplog.text)
    assert device.opened == 3 and supervisor.tracker.status.state is LOST
    device.hanging[0].set()
    soon(lambda: len(frames) == 4)
    supervisor.close()
    reader.join(2)
    assert device.opened == 4


@pytest.mark.parametrize("reconnect", [None, Reconnect()])
def test_close_does_not_wait_for_a_driver_that_sleeps(supervise, reconnect):
    device = Device([1, "hang"])
    supervisor = supervise(device, reconnect)
    supervisor.read()
    ended = threading.Event()
    reader = threading.Thread(target=lambda: supervisor.read() or ended.set())
    reader.start()
    start = time.perf_counter()
    supervisor.close()
    assert ended.wait(1) and time.perf_counter() - start < 1
    reader.join(1)
    assert supervisor.tracker.status.state is ENDED


def test_close_wakes_a_driver_that_can_be_woken(supervise):
    device = Device([1, "wait"])
    supervisor = supervise(device)
    supervisor.read()
    (camera,) = device.sources
    reader = threading.Thread(target=supervisor.read)
    reader.start()
    supervisor.close()
    assert camera.closed.is_set()
    reader.join(1)
    assert not any(t.name == "sparsevit-driver" for t in threading.enumerate())


def test_close_ends_the_wait_for_a_reconnect(supervise, soon):
    device = Device([1, OSError("gone")])
    supervisor = supervise(device, Reconnect(first_wait_s=60))
    frames = []
    reader = threading.Thread(target=lambda: frames.extend(supervisor))
    reader.start()
    soon(lambda: LOST in supervisor.states)
    supervisor.close()
    reader.join(1)
    assert not reader.is_alive() and len(frames) == 1 and device.opened == 1


@pytest.mark.parametrize("error", [SourceError("the cable was pulled"), TimeoutError("the driver's own")])
def test_without_a_policy_an_error_passes_and_is_the_end(supervise, error):
    supervisor = supervise(Device([2, error]))
    assert [supervisor.read().index for _ in range(2)] == [0, 1]
    with pytest.raises(type(error), match=str(error)):
        supervisor.read()
    assert supervisor.read() is None
    assert supervisor.tracker.status.state is LOST and supervisor.tracker.status.reason == str(error)


def test_a_source_that_does_not_come_back_is_an_error_in_the_end(supervise):
    device = Device([1, OSError("bus reset")], [OSError("no such device")])
    policy = Reconnect(first_wait_s=0.001, longest_wait_s=0.002, attempts=3)
    supervisor = supervise(device, policy)
    supervisor.read()
    with pytest.raises(SourceError, match="did not come back in 3 attempts.*no such device"):
        supervisor.read()
    assert device.opened == 1 + 3 and supervisor.read() is None
    assert supervisor.states.count(LOST) == 4 and supervisor.states[-1] is LOST


def test_a_frame_gives_all_attempts_back(supervise):
    device = Device(*[[1, OSError("loose contact")]] * 6, [1])
    supervisor = supervise(device, Reconnect(first_wait_s=0.001, longest_wait_s=0.001, attempts=1))
    assert [f.index for f in supervisor] == list(range(7)) and supervisor.reconnects == 6


def test_a_pause_is_told_once_and_so_is_its_end(supervise, caplog, soon):
    caplog.set_level(logging.INFO)
    device = Device([2, "hang", 2])
    supervisor = supervise(device, stalled_after_s=0.01)
    frames = []
    reader = threading.Thread(target=lambda: frames.extend(supervisor))
    reader.start()
    soon(lambda: STALLED in supervisor.states)
    device.let_go()
    reader.join(2)
    assert len(frames) == 4 and supervisor.reconnects == 0
    assert supervisor.states == [STARTING, LIVE, STALLED, LIVE, ENDED]
    assert [r.levelname for r in caplog.records] == ["INFO", "INFO", "WARNING", "INFO", "INFO"]


def test_waits_double_up_to_a_cap_and_differ():
    policy = Reconnect(first_wait_s=1.0, longest_wait_s=8.0, jitter=0.25)
    for attempt, wanted in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (10_000, 8.0)):
        waits = {policy.wait_s(attempt) for _ in range(50)}
        assert all(0.75 * wanted <= w <= 1.25 * wanted for w in waits) and len(waits) > 1


@pytest.mark.parametrize("before_first", [True, False])
def test_no_attempts_at_all_is_an_error_with_the_first_break_but_a_hanging_driver_is_left(supervise, before_first):
    policy = Reconnect(read_timeout_s=0.05, attempts=0, before_first=before_first)
    device = Device([1, "hang"])
    supervisor = supervise(device, policy)
    supervisor.read()
    with pytest.raises(SourceError, match="no frame for more than"):
        supervisor.read()
    assert device.opened == 1 and supervisor.read() is None


def test_what_was_never_there_is_an_error_at_once_unless_the_rule_waits(supervise):
    policy = Reconnect(first_wait_s=0.001, longest_wait_s=0.002, attempts=4)
    device = Device([OSError("no such device")])
    with pytest.raises(SourceError, match="did not come in 4 attempts.*no such device"):
        supervise(device, policy).read()
    assert device.opened == 5
    impatient = Device([OSError("no such device")])
    with pytest.raises(OSError, match="no such device"):
        supervise(impatient, replace(policy, before_first=False)).read()
    assert impatient.opened == 1
    later = Device([OSError("not yet")], [OSError("not yet")], [3])
    supervisor = supervise(later, policy)
    assert len(list(supervisor)) == 3 and (later.opened, supervisor.reconnects) == (3, 0)


@pytest.mark.parametrize(
    ("script", "error", "opened"),
    [
        ([PermanentSourceError("wrong password")], "wrong password", 1),
        ([SourceNotFoundError("nothing there")], "nothing there", 1),
        ([1, PermanentSourceError("wrong password")], "wrong password", 1),
        ([1, SourceNotFoundError("nothing there")], None, 2),  # its publisher may be back soon
    ],
)
def test_what_never_heals_is_not_tried_again(supervise, script, error, opened):
    device = Device(script, [1])
    supervisor = supervise(device, QUICK)
    if error is None:
        assert len(list(supervisor)) == 2
    else:
        with pytest.raises(PermanentSourceError, match=error):
            list(supervisor)
        assert supervisor.tracker.status.state is LOST
    assert device.opened == opened


def test_damage_adds_up_over_reconnects_and_leaves_its_gaps(supervise):
    class Damaged(Camera):
        def read(self):
            frame = super().read()
            if frame is not None:
                self.damaged += 2
                frame = replace(frame, index=3 * frame.index + 2)
            return frame

    device = Device([2, OSError("bus reset")], [2])

    def open():
        device.opened += 1
        return Damaged(device, device.scripts[min(device.opened - 1, 1)])

    supervisor = Supervisor(open, QUICK)
    assert [f.index for f in supervisor] == [2, 5, 8, 11]
    assert supervisor.damaged == 8


def test_a_password_in_a_drivers_error_is_in_no_state_and_no_line_of_the_log(supervise, caplog):
    caplog.set_level(logging.DEBUG)
    device = Device([1, OSError("cannot open rtsp://me:s3cret@cam/live now")], [1])
    supervisor = supervise(device, QUICK)
    reasons = []
    supervisor.tracker.listen(lambda status: reasons.append(status.reason))
    assert len(list(supervisor)) == 2
    assert any("rtsp://***@cam/live" in reason for reason in reasons)
    assert "s3cret" not in " ".join(reasons) + caplog.text


def test_a_driver_that_hangs_in_close_too_leaves_threads_bounded(supervise, soon):
    class Stubborn(Camera):
        def close(self):
            if threading.current_thread().name == "sparsevit-closing":
                self._device.hang()

    device = Device([1, "hang", OSError("came back in the end")])

    def open():
        device.opened += 1
        return Stubborn(device, device.scripts[0])

    supervisor = Supervisor(open, Reconnect(read_timeout_s=0.002, first_wait_s=0.0, longest_wait_s=0.0, most_hanging=3))
    threads = []

    def read():
        while len(threads) < 100 and supervisor.read() is not None:
            threads.append(sum(t.name.startswith("sparsevit-") for t in threading.enumerate()))

    reader = threading.Thread(target=read)
    reader.start()
    while reader.is_alive():  # each call is let go some time after it was left
        time.sleep(0.003)
        device.let_go()
    supervisor.close()
    device.let_go()
    assert len(threads) == 100 and max(threads) <= 2 * 3 + 2
