from __future__ import annotations

import gc
import threading
import time
import weakref
from contextlib import ExitStack

import cv2
import numpy as np
import pytest

from sparsevit_apps import running
from sparsevit_apps.memory import settle
from sparsevit_apps.outputs import Outputs, written_files
from sparsevit_apps.running import playback_fps, run_model
from sparsevit_runtime import Frame, Source, load, open_source
from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.sinks import NullSink, StopStream

pytestmark = pytest.mark.timed


class Camera(Source):
    """A live source: a new frame every few milliseconds, without end."""

    name, live, size_wh = "camera", True, (96, 64)

    def __init__(self, fps: float | None = None) -> None:
        self.fps = fps
        self.closed = False
        self._index = 0

    def read(self) -> Frame | None:
        if self.closed:
            return None
        time.sleep(0.003)
        self._index += 1
        return Frame(np.full((64, 96, 3), self._index % 256, np.uint8), self._index - 1, time.time_ns())

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def model(tiny_model):
    with load(tiny_model(), threads=1) as loaded:
        yield loaded


def stop_after(count):
    def stop(_result, frames):
        if frames == count:
            raise KeyboardInterrupt

    return stop


def test_interrupting_a_camera_keeps_what_was_written(model, tmp_path):
    camera = Camera()
    with ExitStack() as opened:
        sinks = opened.enter_context(Outputs([str(tmp_path / "out.mp4")])).open(camera, opened, 25.0)
        summary = run_model(model, camera, sinks, on_result=stop_after(3))
    assert summary.interrupted
    assert 3 <= summary.frames <= 8  # what was in the backend is written, too
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == summary.frames
    assert camera.closed
    (written,) = written_files(sinks)
    assert written[:2] == (str(tmp_path / "out.mp4"), (tmp_path / "out.mp4").stat().st_size)
    assert written.codec in ("H.264", "MPEG-4")


def test_interrupting_a_file_keeps_what_was_written(model, tmp_path):
    with ExitStack() as opened:
        source = opened.enter_context(open_source("synthetic://street?size=96x64&frames=50000"))
        sinks = opened.enter_context(Outputs([str(tmp_path / "out.jsonl")])).open(source, opened, None)
        summary = run_model(model, source, sinks, on_result=stop_after(3))
    assert summary.interrupted and 3 <= summary.frames < 50
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "tiny.onnx"]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == summary.frames


def test_summary_counts_frames_and_drops(model):
    sink = NullSink()
    summary = run_model(model, Camera(), [sink], limit=5, on_result=lambda *_: time.sleep(0.02))
    assert summary.frames == len(summary.inference_ms) == sink.count == 5
    assert summary.dropped > 0
    assert summary.fps == pytest.approx(5 / summary.seconds)
    assert not summary.interrupted


def test_a_run_for_months_keeps_the_times_of_its_last_frames(model, monkeypatch):
    monkeypatch.setattr(running, "_RECENT", 3)
    summary = run_model(model, Camera(), [NullSink()], limit=5)
    assert summary.frames == 5 and len(summary.inference_ms) == 3


def test_what_a_command_has_loaded_is_passed_over_by_the_garbage_collector():
    class Loop:
        def __init__(self):
            self.me = self

    try:
        settle()
        loaded = gc.get_freeze_count()
        assert loaded > 10_000 and len(gc.get_objects()) < loaded / 10
        left = weakref.ref(Loop())
        gc.freeze()
        settle()
        assert left() is None
    finally:
        gc.unfreeze()


class Window(NullSink):
    """A window whose watcher presses q at the second frame."""

    needs_image = True

    def write(self, result, image=None):
        super().write(result, image)
        self.threads.add(threading.current_thread())
        if self.count == 2:
            raise StopStream


@pytest.mark.parametrize("main_thread", [False, True])
def test_a_person_watching_can_stop(model, tmp_path, main_thread):
    window, camera = Window(), Camera()
    window.main_thread, window.threads = main_thread, set()
    with ExitStack() as opened:
        sinks = opened.enter_context(Outputs([str(tmp_path / "out.jsonl")])).open(camera, opened, None)
        summary = run_model(model, camera, [window, *sinks])
    assert (window.count, summary.interrupted) == (2, False)
    assert (threading.main_thread() in window.threads) == main_thread and len(window.threads) == 1
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == summary.frames >= 2


def test_pictures_are_drawn_once_and_only_for_sinks_that_want_them(model):
    images = {}

    class Taking(NullSink):
        def __init__(self, needs_image):
            super().__init__()
            self.needs_image = needs_image
            images[self] = []

        def write(self, result, image=None):
            images[self].append(image)

    sinks = [Taking(False), Taking(True), Taking(True)]
    run_model(model, Camera(), sinks, limit=2)
    log, one, other = images.values()
    assert log == [None, None]
    assert all(a is b and a.shape == (64, 96, 3) for a, b in zip(one, other)) and len(one) == len(other) == 2


@pytest.mark.parametrize("main_thread", [False, True])
def test_a_sink_that_fails_ends_the_run(model, main_thread):
    class Full(NullSink):
        def write(self, result, image=None):
            super().write(result)
            if self.count == 3:
                raise SinkError("the disk is full")

    full, camera = Full(), Camera()
    full.main_thread = main_thread
    with pytest.raises(SinkError, match="disk is full"):
        run_model(model, camera, [NullSink(), full])
    assert full.count == 3 and camera.closed


def test_a_driver_that_sleeps_does_not_hold_up_the_end(model):
    class Sleeping(Camera):
        def read(self):
            if self._index == 3:
                asleep.set()
                wake.wait(60)
            return super().read()

    def interrupt(_result, frames):
        if frames == 3:
            assert asleep.wait(10)
            interrupted.append(time.perf_counter())
            raise KeyboardInterrupt

    asleep, wake, interrupted, sink = threading.Event(), threading.Event(), [], NullSink()
    summary = run_model(model, Sleeping(), [sink], on_result=interrupt)
    assert time.perf_counter() - interrupted[0] < 1
    assert summary.interrupted and sink.count == summary.frames == 3
    wake.set()


@pytest.mark.parametrize(
    ("source", "inference_ms", "fps"),
    [
        (Camera(30.0), 100.0, 10.0),
        (Camera(30.0), 5.0, 30.0),
        (Camera(None), 50.0, 20.0),
        (Camera(90_000.0), 50.0, 20.0),
        (Camera(None), 1e-4, 1000.0),
    ],
)
def test_rate_of_a_live_video(source, inference_ms, fps):
    assert playback_fps(source, inference_ms) == pytest.approx(fps)


def test_rate_of_a_file_is_its_own():
    camera = Camera(30.0)
    camera.live = False
    assert playback_fps(camera, 500.0) == 30.0
    camera.fps = 90_000.0  # the time base of a container that tells no rate
    assert playback_fps(camera, 500.0) is None
