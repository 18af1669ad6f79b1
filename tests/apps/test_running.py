from __future__ import annotations

import time
from contextlib import ExitStack

import cv2
import numpy as np
import pytest

from sparsevit_apps.running import open_sinks, playback_fps, run_stream, written_files
from sparsevit_runtime import Frame, Source, load
from sparsevit_runtime.sinks import NullSink, StopStream


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
        sinks = open_sinks([str(tmp_path / "out.mp4")], opened, camera, 25.0)
        with model.stream(camera) as stream:
            summary = run_stream(stream, sinks, on_result=stop_after(3))
    assert (summary.frames, summary.interrupted) == (3, True)
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert camera.closed
    assert written_files(sinks) == [(str(tmp_path / "out.mp4"), (tmp_path / "out.mp4").stat().st_size)]


def test_interrupting_a_file_keeps_nothing(model, tmp_path):
    with pytest.raises(KeyboardInterrupt), ExitStack() as opened:
        stream = opened.enter_context(model.stream("synthetic://street?size=96x64&frames=50"))
        sinks = open_sinks([str(tmp_path / "out.jsonl")], opened, stream.source, None)
        run_stream(stream, sinks, on_result=stop_after(3))
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.onnx"]
    assert written_files(sinks) == []


def test_summary_counts_frames_and_drops(model):
    with model.stream(Camera()) as stream:
        summary = run_stream(stream, [NullSink()], limit=5, on_result=lambda *_: time.sleep(0.02))
    assert summary.frames == len(summary.inference_ms) == 5
    assert summary.dropped > 0
    assert summary.fps == pytest.approx(5 / summary.seconds)
    assert not summary.interrupted


def test_a_person_watching_can_stop(model):
    class Window(NullSink):
        def write(self, result, image=None):
            super().write(result, image)
            if self.count == 2:
                raise StopStream

    sink = Window()
    with model.stream(Camera()) as stream:
        summary = run_stream(stream, [sink])
    assert (sink.count, summary.interrupted) == (2, False)


def test_no_picture_is_drawn_for_sinks_that_want_none(model):
    images = []

    class Log(NullSink):
        def write(self, result, image=None):
            images.append(image)

    with model.stream(Camera()) as stream:
        run_stream(stream, [Log()], limit=2)
    assert images == [None, None]


@pytest.mark.parametrize(
    ("source", "inference_ms", "fps"),
    [
        (Camera(30.0), 100.0, 10.0),
        (Camera(30.0), 5.0, 30.0),
        (Camera(None), 50.0, 20.0),
    ],
)
def test_rate_of_a_live_video(source, inference_ms, fps):
    assert playback_fps(source, inference_ms) == pytest.approx(fps)


def test_rate_of_a_file_is_its_own():
    camera = Camera(30.0)
    camera.live = False
    assert playback_fps(camera, 500.0) == 30.0
