import threading
import time

import numpy as np
import pytest

from runtime.live.devices import Device, Feed
from sparsevit_runtime.errors import BackendError, FrameError, PlanError, SessionError, SourceError
from sparsevit_runtime.live.outlet import Outlet, Pull
from sparsevit_runtime.live.session import Session
from sparsevit_runtime.live.states import SessionState, SourceState
from sparsevit_runtime.live.supervisor import Reconnect

pytestmark = pytest.mark.timed

NEW, RUNNING, STOPPING, ENDED, FAILED = SessionState


def pictures(count, shade=0):
    return [np.full((40, 60, 3), (shade + 32 * i) % 256, np.uint8) for i in range(count)]


class Collecting:
    """A function for an outlet: keeps the results, and can be made to fail or to wait."""

    def __init__(self, fail_at=None):
        self.results, self.fail_at = [], fail_at
        self.free = threading.Event()
        self.free.set()
        self.busy = threading.Event()

    def __call__(self, result, picture):
        self.results.append(result)
        self.busy.set()
        assert self.free.wait(30)
        if len(self.results) == self.fail_at:
            raise OSError("no space left")

    @property
    def indices(self):
        return [result.frame_index for result in self.results]


@pytest.fixture
def runner(make_model):
    return make_model().runner


@pytest.fixture
def open_session(runner):
    """Makes a session of the tiny model; closes it at the end."""
    made = []

    def make(sources, outlets=(), **options):
        made.append(Session(options.pop("runner", runner), sources, outlets, **options))
        return made[-1]

    yield make
    for session in made:
        session.close()


def check_counts(session, **wanted):
    """Counts of a session that is over: nothing is in flight, and everything that was captured is accounted for."""
    for name, counts in session.metrics.sources.items():
        assert counts.in_flight == 0, name
        assert counts.captured == counts.processed + counts.dropped + counts.failed
        for key, value in wanted.items():
            assert getattr(counts, key) == value, (name, key)


def test_files_of_several_sources_come_whole_in_order_and_named(open_session):
    everything = Collecting()
    session = open_session(
        {"left": pictures(6), "right": iter(pictures(9, 16))}, [Outlet(everything, may_block=True)], activity=True
    )
    with session:
        assert session.wait(20)
    for name, count in (("left", 6), ("right", 9)):
        results = [r for r in everything.results if r.source == name]
        assert [r.frame_index for r in results] == list(range(count))
        assert all(r.activity is not None and r.dropped == 0 for r in results)
        for result in results:
            assert (result.label_map == result.image[0, 0, 0] // 32).all()
    assert session.state is ENDED and session.error is None
    assert {n: s.state for n, s in session.sources.items()} == {"left": SourceState.ENDED, "right": SourceState.ENDED}
    check_counts(session, dropped=0, failed=0)
    assert session.metrics.outlets["Collecting"].written == 15


def test_sources_take_turns(open_session):
    everything = Collecting()
    first = iter(pictures(30))
    with open_session({"fast": first, "slow": pictures(30)}, [Outlet(everything, may_block=True)]) as session:
        session.wait(20)
    firsts = [r.source for r in everything.results][10:40]  # once both have begun
    assert 10 <= firsts.count("slow") <= 20


def test_one_source_is_called_as_it_names_itself(open_session):
    results = Pull(2)
    with open_session("synthetic://street?size=96x64&frames=2", [results]):
        assert [d.result.source for d in results] == ["synthetic street, seed 0"] * 2


def test_frames_that_were_captured_but_not_submitted_take_the_new_level(open_session):
    everything = Collecting()
    everything.free.clear()
    session = open_session(pictures(12), [Outlet(everything, may_block=True)])
    with session:
        assert everything.busy.wait(10)
        session.level = 0.5
        assert session.level.kept == (12, 3, 3)
        everything.free.set()
        session.wait(20)
    kept = [r.keep for r in everything.results]
    change = kept.index((12, 3, 3))
    assert kept == [(24, 6, 6)] * change + [(12, 3, 3)] * (12 - change) and 1 <= change <= 6


def test_a_level_that_does_not_fit_is_refused_and_the_old_one_stays(open_session):
    session = open_session([], level=0.5)
    with pytest.raises(PlanError):
        session.level = 1.5
    assert session.level.kept == (12, 3, 3)


def test_a_slow_outlet_skips_results_one_that_may_block_misses_none(open_session):
    slow, everything = Collecting(), Collecting()
    slow.free.clear()
    with open_session(pictures(10), [Outlet(slow, name="view"), Outlet(everything, may_block=True)]) as session:
        assert slow.busy.wait(10)
        while session.metrics.outlets["Collecting"].written < 10:
            time.sleep(0.002)
        slow.free.set()
        session.wait(20)
    assert everything.indices == list(range(10))
    assert slow.indices[-1] == 9 and len(slow.indices) <= 3  # the newest, not the next
    view = session.metrics.outlets["view"]
    assert (view.written, view.skipped, view.waiting) == (len(slow.indices), 10 - len(slow.indices), 0)


def test_a_live_source_drops_what_comes_while_the_outlet_is_busy(open_session):
    feed, everything = Feed(), Collecting()
    everything.free.clear()
    session = open_session({"camera": feed}, [Outlet(everything, may_block=True)])
    with session:
        feed.give(*pictures(40))
        while session.metrics.sources["camera"].captured < 40:
            time.sleep(0.002)
        everything.free.set()
        feed.give(None)
        session.wait(20)
    check_counts(session, captured=40)
    counts = session.metrics.sources["camera"]
    assert everything.indices[-1] == 39 and len(everything.results) == counts.processed < 15
    assert [r.dropped for r in everything.results] == sorted(r.dropped for r in everything.results)
    assert everything.results[-1].dropped == counts.dropped


def test_counts_add_up_at_every_moment(open_session):
    feeds = {"a": Feed(), "b": Feed(live=False)}
    session = open_session(feeds, [Outlet(Collecting(), may_block=True)])
    snapshots, over = [], threading.Event()

    def watch():
        while not over.is_set():
            snapshots.append(session.metrics.sources)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with session:
        for feed in feeds.values():
            feed.give(*pictures(100), None)
        session.wait(30)
    over.set()
    watcher.join()
    for sources in snapshots:
        for counts in sources.values():
            assert 0 <= counts.in_flight <= 8
            assert counts.captured == counts.processed + counts.dropped + counts.failed + counts.in_flight
    check_counts(session, captured=100)
    stages = session.metrics.sources["b"].stages
    assert set(stages) == {"capture", "preprocess", "inference", "postprocess", "latency"}
    assert {stage.count for stage in stages.values()} == {100}
    assert stages["latency"].mean_ms >= stages["inference"].mean_ms > 0


@pytest.mark.parametrize("end", ["close", "stop"])
def test_counts_add_up_when_a_session_is_ended_half_way(open_session, end):
    feeds = {"a": Feed(), "b": Feed(live=False)}
    everything = Collecting()
    session = open_session(feeds, [Outlet(everything, may_block=True)])
    with session:
        for feed in feeds.values():
            feed.give(*pictures(500))
        while len(everything.results) < 5:
            time.sleep(0.002)
        getattr(session, end)()
        assert session.wait(20)
    check_counts(session, failed=0)
    assert session.state is ENDED and all(feed.closed for feed in feeds.values())
    processed = sum(counts.processed for counts in session.metrics.sources.values())
    assert processed >= len(everything.results) and (end == "close" or processed == len(everything.results))


def test_a_frame_that_the_backend_fails_on_is_counted_and_ends_the_session(open_session, make_model):
    session = open_session(pictures(5), [Outlet(Collecting())], runner=make_model(fails=True).runner)
    with session, pytest.raises(BackendError, match="ONNX Runtime failed"):
        session.wait(20)
    assert session.state is FAILED and "ONNX Runtime failed" in session.status.reason
    check_counts(session, failed=1, processed=0)


def test_a_frame_that_is_none_is_counted_and_ends_its_source(open_session):
    everything = Collecting()
    bad = [*pictures(2), np.zeros((4, 4, 4), np.uint8), *pictures(2)]
    with open_session({"bad": bad, "good": pictures(5)}, [Outlet(everything, may_block=True)]) as session:
        assert session.wait(20)
    counts = session.metrics.sources
    assert (counts["bad"].processed, counts["bad"].failed, counts["good"].processed) == (2, 1, 5)
    assert session.sources["bad"].state is SourceState.LOST and "alpha" in session.sources["bad"].reason
    check_counts(session, dropped=0)


def test_when_every_source_fails_so_does_the_session(open_session):
    bad, results = [np.zeros((4, 4, 4), np.uint8)], Pull(2)
    with open_session({"a": [*pictures(1), *bad], "b": bad}, [results]) as session:
        assert next(results).result.source == "a"
        with pytest.raises(FrameError, match="alpha"):
            next(results)
        with pytest.raises(FrameError, match="alpha"):
            session.wait(20)
        with pytest.raises(StopIteration):
            next(results)
    assert session.state is FAILED


def test_an_outlet_that_fails_leaves_the_others_going(open_session, caplog):
    failing, everything = Collecting(fail_at=3), Collecting()
    outlets = [Outlet(failing, name="upload", may_block=True), Outlet(everything, may_block=True)]
    with open_session(pictures(10), outlets) as session:
        assert session.wait(20)
    assert everything.indices == list(range(10)) and failing.indices == [0, 1, 2]
    assert session.state is ENDED and session.metrics.outlets["upload"].error == "no space left"
    assert caplog.text.count("upload failed: no space left") == 1


@pytest.mark.parametrize("essential", [True, False])
def test_an_essential_outlet_or_the_last_one_takes_the_session_with_it(open_session, essential):
    outlets = [Outlet(Collecting(fail_at=3), may_block=True, essential=essential)]
    outlets += [Outlet(Collecting())] if essential else []
    with open_session(pictures(500), outlets) as session, pytest.raises(OSError, match="no space left"):
        session.wait(20)
    assert session.state is FAILED and isinstance(session.error, OSError)
    check_counts(session, failed=0)


@pytest.mark.parametrize("limit", [1, 7])
def test_a_limit_is_met_exactly(open_session, limit):
    feeds, everything = {"a": Feed(), "b": Feed(live=False)}, Collecting()
    for feed in feeds.values():
        feed.give(*pictures(50))
    with open_session(feeds, [Outlet(everything, may_block=True)], limit=limit) as session:
        assert session.wait(20)
    assert len(everything.results) == limit
    check_counts(session)


@pytest.mark.parametrize("reconnect", [None, Reconnect()])
def test_close_does_not_wait_for_a_camera_that_sleeps(open_session, reconnect):
    device, results = Device([1, "hang"]), Pull(0)
    with open_session({"camera": device.open}, [results], reconnect=reconnect) as session:
        assert next(results).result.frame_index == 0
        while not device.hanging:
            time.sleep(0.002)
        start = time.perf_counter()
        session.close()
        assert time.perf_counter() - start < 1
    assert session.state is ENDED and session.sources["camera"].state is SourceState.ENDED
    check_counts(session, processed=1)


def test_close_does_not_wait_for_a_file_that_sleeps(open_session):
    wake, asleep = threading.Event(), threading.Event()

    def frames():
        yield from pictures(2)
        asleep.set()
        wake.wait(60)
        yield from pictures(1)

    results = Pull(2)
    with open_session(frames(), [results]) as session:
        next(results)
        assert asleep.wait(10)
        start = time.perf_counter()
        session.close()
        assert time.perf_counter() - start < 1
    assert session.sources["frames"].state is SourceState.ENDED
    before = session.metrics
    wake.set()  # the frame it comes back with is nobody's
    while any(t.name == "sparsevit-capture" for t in threading.enumerate()):
        time.sleep(0.002)
    assert session.metrics == before
    check_counts(session)


def test_close_leaves_a_function_that_does_not_return_and_waits_for_a_sink(open_session, caplog):
    stuck = Collecting()
    stuck.free.clear()
    with open_session(pictures(5), [Outlet(stuck, name="upload", may_block=True)]) as session:
        assert stuck.busy.wait(10)
        start = time.perf_counter()
        session.close()
        assert time.perf_counter() - start < 1.5
    assert session.state is ENDED and "upload is still at work" in caplog.text
    stuck.free.set()


def test_stopping_finishes_what_is_in_the_backend(open_session):
    feed, everything = Feed(live=False), Collecting()
    everything.free.clear()
    session = open_session(feed, [Outlet(everything, may_block=True)])
    session.start()
    feed.give(*pictures(20))
    assert everything.busy.wait(10)
    session.stop()
    assert session.state is STOPPING and not session.wait(0.01)
    everything.free.set()
    assert session.wait(20) and feed.closed
    assert everything.indices == list(range(len(everything.results)))
    check_counts(session, processed=len(everything.results))


def test_an_outlet_may_end_the_session(open_session):
    sessions = []

    def last(result, picture):
        if result.frame_index == 3:
            sessions[0].close()

    sessions.append(open_session(pictures(500), [Outlet(last, may_block=True)]))
    with sessions[0] as session:
        assert session.wait(20)
    check_counts(session)


def test_a_session_without_outlets_counts(open_session):
    with open_session(pictures(5)) as session:
        assert session.wait(20)
    check_counts(session, processed=5)


def test_pictures_are_drawn_once_for_all_who_want_them(open_session):
    drawn, taken = [], {"a": [], "b": [], "c": []}

    def draw(image, result):
        drawn.append((result.frame_index, threading.current_thread().name))
        return image + 1

    outlets = [
        Outlet(lambda r, p, key=key: taken[key].append(p), name=key, may_block=True, pictures=key != "c")
        for key in taken
    ]
    with open_session(pictures(6), outlets, draw=draw) as session:
        session.wait(20)
    assert [index for index, _ in drawn] == list(range(6)) and {thread for _, thread in drawn} == {"sparsevit-outlet"}
    assert all(a is b for a, b in zip(taken["a"], taken["b"])) and taken["c"] == [None] * 6
    assert [p[0, 0, 0] for p in taken["a"]] == [32 * i + 1 for i in range(6)]


def test_states_are_told_on_change(open_session):
    device, told = Device([3, OSError("bus reset")], [2]), []
    quick = Reconnect(first_wait_s=0.001, longest_wait_s=0.001)
    everything = Collecting()
    session = open_session({"camera": device.open}, [Outlet(everything, may_block=True)], reconnect=quick)
    session.listen(lambda name, status: told.append((name, status.state)))
    assert session.state is NEW and session.sources["camera"].state is SourceState.CONNECTING
    with session:
        assert session.wait(20)
    assert [state for name, state in told if name is None] == [RUNNING, ENDED]
    connecting, starting, live, _, lost, ended = SourceState
    states = [state for name, state in told if name == "camera"]
    assert states == [starting, live, lost, connecting, starting, live, ended]
    assert session.metrics.sources["camera"].reconnects == 1
    assert session.metrics.sources["camera"].captured == 5


def test_a_camera_that_is_not_there_yet_is_waited_for(open_session):
    device, results = Device([OSError("no such device")], [OSError("no such device")], [1]), Pull(0)
    with open_session({"camera": device.open}, [results], reconnect=Reconnect(first_wait_s=0.001)):
        assert next(results).result.source == "camera"
    assert device.opened == 3


def test_a_source_that_is_open_cannot_be_opened_anew(open_session):
    with pytest.raises(SourceError, match="give its URI"):
        open_session({"camera": Feed()}, reconnect=Reconnect())


def test_sources_are_closed_when_another_cannot_be_opened(open_session):
    feed = Feed()
    with pytest.raises(SourceError, match="there is no file"):
        open_session({"camera": feed, "file": "no/such/clip.mp4"})
    assert feed.closed
    with pytest.raises(SourceError, match="at least one"):
        open_session({})


def test_a_session_runs_once(open_session):
    session = open_session(pictures(1))
    with pytest.raises(SessionError, match="not started"):
        session.wait()
    session.start()
    with pytest.raises(SessionError, match="make a new one"):
        session.start()
    session.wait(20)
    session.close()
    with pytest.raises(SessionError, match="is ended"):
        session.start()


@pytest.mark.parametrize("end", ["close", "stop"])
def test_a_session_that_never_started_closes_its_sources(open_session, end):
    feed = Feed()
    session = open_session(feed)
    getattr(session, end)()
    assert feed.closed and session.state is ENDED


def test_a_session_that_is_over_keeps_no_pictures(open_session):
    """Whoever keeps it for its counts; a service starts many."""
    outlet = Outlet(Collecting(), may_block=True)
    session = open_session({"a": pictures(5), "b": pictures(5)}, [outlet])
    session.start()
    assert session.wait(30)
    assert sum(each.processed for each in session.metrics.sources.values()) == 10
    assert [len(capture.buffers) for capture in session._captures.by_name.values()] == [0, 0]
