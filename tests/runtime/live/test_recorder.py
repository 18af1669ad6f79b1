import threading

import cv2
import numpy as np
import pytest

from runtime.live.devices import Feed
from sparsevit_runtime.live.outlet import Outlet
from sparsevit_runtime.live.recorder import Recorder
from sparsevit_runtime.live.session import Session
from sparsevit_runtime.sinks import open_sink


def shades(path):
    """The mean of each picture of a video."""
    capture, found = cv2.VideoCapture(str(path)), []
    while (got := capture.read())[0]:
        found.append(got[1].mean())
    capture.release()
    return found


class Counting:
    """An outlet's function that lets a test wait for results."""

    def __init__(self):
        self.count, self._more = 0, threading.Condition()

    def __call__(self, result, picture):
        with self._more:
            self.count += 1
            self._more.notify_all()

    def wait(self, count):
        with self._more:
            assert self._more.wait_for(lambda: self.count >= count, 10), self.count


@pytest.fixture
def recording(make_model, tmp_path):
    """A session of a live feed into a video and JSON lines; the feed, its results counted, and the session."""
    feed, counting = Feed(), Counting()
    with open_sink(tmp_path / "a.mp4", live=True) as video, open_sink(tmp_path / "a.jsonl", live=True) as lines:
        outlets = [Outlet(video), Outlet(lines), Outlet(counting, may_block=True)]
        with Session(make_model().runner, feed, outlets, draw=lambda image, result: image) as session:
            yield feed, counting, session


@pytest.mark.timed
def test_what_is_stopped_plays_and_goes_on_in_a_new_file(recording, tmp_path):
    feed, counting, session = recording
    recorder = session.recorder
    assert recorder.active

    def show(*grey):
        for shade in grey:
            feed.give(np.full((48, 64, 3), shade, np.uint8))
            counting.wait(counting.count + 1)

    show(20, 40, 60)
    recorder.stop()
    assert not recorder.active
    show(80, 100, 120)
    np.testing.assert_allclose(shades(tmp_path / "a.mp4"), [20, 40, 60], atol=6)  # whole while the run goes on
    recorder.start()
    assert recorder.active
    show(140, 160)
    feed.give(None)
    assert session.wait(10)
    assert session.metrics.outlets[str(tmp_path / "a.mp4")].written == 5
    session.close()
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 8


@pytest.mark.timed
def test_the_second_part_has_what_came_after(recording, tmp_path):
    feed, counting, session = recording
    for shade, active in ((20, True), (80, False), (140, True), (200, False), (240, False)):
        session.recorder.start() if active else session.recorder.stop()
        feed.give(np.full((48, 64, 3), shade, np.uint8))
        counting.wait(counting.count + 1)
    feed.give(None)
    assert session.wait(10)
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["a-0002.mp4", "a.mp4"]
    np.testing.assert_allclose(shades(tmp_path / "a.mp4"), [20], atol=6)
    np.testing.assert_allclose(shades(tmp_path / "a-0002.mp4"), [140], atol=6)


def test_only_videos_of_live_sources_are_stopped(tmp_path):
    with open_sink(tmp_path / "a.mp4") as of_a_file, open_sink(tmp_path / "a.jsonl", live=True) as lines:
        assert Recorder.of([Outlet(of_a_file), Outlet(lines), Outlet(print)]) is None
