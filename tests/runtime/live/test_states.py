import time

import pytest

from sparsevit_runtime.live.states import SourceState, Tracker


def test_a_state_is_told_when_it_changes_and_only_then():
    tracker, told = Tracker(SourceState.CONNECTING), []
    tracker.listen(told.append)
    before = time.time_ns()
    changes = [
        tracker.change(SourceState.CONNECTING),
        tracker.change(SourceState.LIVE),
        tracker.change(SourceState.LIVE, "still"),
        tracker.change(SourceState.STALLED, "no frame for 3 s"),
    ]
    assert changes == [False, True, False, True]
    assert [(s.state, s.reason) for s in told] == [
        (SourceState.LIVE, ""),
        (SourceState.STALLED, "no frame for 3 s"),
    ]
    assert tracker.status is told[-1]
    assert before <= told[0].since_ns <= told[1].since_ns <= time.time_ns()


def test_a_state_may_be_final():
    tracker = Tracker(SourceState.ENDED)
    since = tracker.status.since_ns
    assert not tracker.change(SourceState.LIVE, unless=(SourceState.ENDED,))
    assert (tracker.status.state, tracker.status.since_ns) == (SourceState.ENDED, since)


def test_a_listener_that_fails_is_logged_and_the_others_are_told(caplog):
    tracker, told = Tracker(SourceState.CONNECTING), []

    def fail(status):
        raise RuntimeError("no display")

    tracker.listen(fail)
    tracker.listen(told.append)
    assert tracker.change(SourceState.LIVE)
    assert len(told) == 1 and "no display" in caplog.text


@pytest.mark.parametrize("state", SourceState)
def test_states_have_words(state):
    assert state.value == state.name.lower()
