import threading
import time
from typing import ClassVar

import numpy as np
import pytest

from runtime.live.conftest import workers
from sparsevit_runtime.errors import BackendError, FrameError, PlanError, SourceError
from sparsevit_runtime.live.states import SourceState
from sparsevit_runtime.sources.base import Frame, Source

pytestmark = pytest.mark.timed


class Numbered(Source):
    """Frames whose brightness is their number, as a file gives them."""

    name = "numbered"

    def __init__(self, count: int, live: bool = False, fail_at: int | None = None, pause_s: float = 0.0) -> None:
        self.live = live
        self.frame_count = count
        self.closed = 0
        self.reads = 0
        self._fail_at = fail_at
        self._pause_s = pause_s

    def read(self) -> Frame | None:
        index = self.reads
        if index == self._fail_at:
            raise SourceError("the cable was pulled")
        if index == self.frame_count:
            return None
        time.sleep(self._pause_s)
        self.reads += 1
        return Frame(np.full((40 + index % 3, 60, 3), index * 8 % 256, np.uint8), index, index * 1000)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("count", [0, 1, 30])
def test_files_give_every_frame_in_order(make_model, count):
    source = Numbered(count)
    results = list(make_model().stream(source))
    assert [r.frame_index for r in results] == list(range(count))
    for i, result in enumerate(results):
        assert result.timestamp_ns == i * 1000 and result.dropped == 0
        assert (result.image == i * 8).all() and (result.label_map == i * 8 // 32).all()
        assert result.label_map.shape == result.image.shape[:2]
    assert source.closed and not workers()


def test_results_of_a_stream_know_its_rate(make_model):
    model = make_model()
    first, *rest = model.stream(Numbered(8, pause_s=0.01))
    assert first.fps is None and all(1 < result.fps <= 110 for result in rest)
    assert model(rest[0].image).fps is None


def test_a_slow_consumer_of_a_file_misses_nothing(make_model):
    seen = []
    for result in make_model().stream(Numbered(8)):
        time.sleep(0.01)
        seen.append(result.frame_index)
    assert seen == list(range(8))


def test_a_slow_consumer_of_a_live_source_gets_fresh_frames_and_the_count_of_the_rest(make_model):
    source, seen = Numbered(60, live=True, pause_s=0.002), []
    for result in make_model().stream(source):
        time.sleep(0.02)
        seen.append(result)
    indices = [r.frame_index for r in seen]
    assert indices == sorted(set(indices)) and len(indices) < 60
    assert [r.dropped for r in seen] == sorted(r.dropped for r in seen)
    assert len(seen) + seen[-1].dropped == 60  # every frame was answered or counted
    for result in seen:
        assert (result.label_map == result.frame_index * 8 % 256 // 32).all()  # no buffer was overwritten


def test_a_stream_runs_ahead_of_its_consumer_but_not_far(make_model):
    source = Numbered(100)
    with make_model().stream(source) as stream:
        next(stream)
        time.sleep(0.1)
        assert 2 <= source.reads <= 10


def test_options_reach_the_model(make_model):
    with make_model().stream(Numbered(2), sparsity=0.5, activity=True) as stream:
        results = list(stream)
    assert [r.keep for r in results] == [(12, 3, 3)] * 2 and results[1].activity.computed_share == 0.5
    assert all(r.timings.capture_ms > 0 and r.timings.preprocess_ms > 0 and r.timings.inference_ms > 0 for r in results)


@pytest.mark.parametrize("live", [False, True])
def test_leaving_early_stops_everything(make_model, live):
    source = Numbered(10_000, live=live)
    with make_model().stream(source) as stream:
        assert next(stream).frame_index >= 0
        names = {"sparsevit-capture", "sparsevit-inference", "sparsevit-decoding"} | (
            {"sparsevit-driver"} if live else set()
        )
        assert sorted(t.name for t in workers()) == sorted(names)
        start = time.perf_counter()
    assert time.perf_counter() - start < 1 and not workers() and source.closed
    with pytest.raises(StopIteration):
        next(stream)


def test_a_stream_that_is_dropped_stops_too(make_model):
    source = Numbered(10_000)
    for result in make_model().stream(source):
        if result.frame_index == 2:
            break
    assert not workers() and source.closed


def test_a_stream_never_read_closes_its_source(make_model):
    source = Numbered(3)
    make_model().stream(source).close()
    assert source.closed and source.reads == 0


def test_an_error_of_the_source_comes_after_the_frames_before_it(make_model):
    source, seen = Numbered(10, fail_at=4), []
    with pytest.raises(SourceError, match="cable"):
        for result in make_model().stream(source):
            seen.append(result.frame_index)
    assert seen == [0, 1, 2, 3] and source.closed


def test_an_error_of_the_backend_reaches_the_consumer(make_model):
    source = Numbered(10)
    with pytest.raises(BackendError, match="ONNX Runtime failed"):
        next(make_model(fails=True).stream(source))
    assert source.closed


def test_a_bad_frame_reaches_the_consumer(make_model):
    frames = [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 4), np.uint8)]
    with make_model().stream(frames) as stream:
        assert next(stream).frame_index == 0
        with pytest.raises(FrameError, match="alpha"):
            next(stream)


def test_frames_from_any_iterable(make_model):
    frames = (np.full((4, 4, 3), i, np.uint8) for i in range(3))
    assert [r.frame_index for r in make_model().stream(frames)] == [0, 1, 2]


def test_a_uri_is_opened(make_model):
    with make_model().stream("synthetic://street?size=96x64&frames=3") as stream:
        assert stream.source.frame_count == 3
        assert [r.image_wh for r in stream] == [(96, 64)] * 3


@pytest.mark.parametrize(
    ("source", "options", "error"),
    [
        ("no/such/clip.mp4", {}, SourceError),
        (np.zeros((4, 4, 3), np.uint8), {}, FrameError),
        (3.5, {}, FrameError),
        (None, {}, FrameError),
        ([], {"sparsity": 2.0}, PlanError),
    ],
)
def test_what_cannot_be_streamed_is_told_at_once(make_model, source, options, error):
    model = make_model()
    with pytest.raises(error):
        model.stream(source, **options)


def test_calls_and_streams_run_beside_each_other(make_model, frame):
    model = make_model()
    alone = model(frame).label_map
    for result in model.stream(Numbered(10)):
        np.testing.assert_array_equal(model(frame).label_map, alone)
        assert (result.label_map == result.frame_index * 8 // 32).all()


def test_a_level_may_change_on_the_way(make_model):
    answered, levels = threading.Semaphore(1), [(12, 3, 3), (24, 6, 6), (7, 1, 1)]

    def frames():
        while True:  # the next frame comes when the answer before has been seen
            assert answered.acquire(timeout=20)
            yield np.full((40, 60, 3), 64, np.uint8)

    with make_model().stream(frames(), 0.5) as stream:
        seen = [next(stream).keep]
        for level in (None, [0.7, 0.8]):
            stream.level = level
            answered.release()
            seen.append(next(stream).keep)
            assert stream.level.kept == seen[-1]
    answered.release()
    assert seen == levels


def test_results_name_their_source(make_model):
    assert [r.source for r in make_model().stream(Numbered(2))] == ["numbered"] * 2


def test_what_comes_with_a_frame_beside_its_pixels_reaches_the_model(make_model):
    picture = np.full((40, 60, 3), 64, np.uint8)
    given = [Frame(picture, i, i * 1000, {"homography": np.full((3, 3), i, np.float32)}) for i in range(4)]
    results = list(make_model(matrix=True).stream(given))
    assert [(r.frame_index, r.timestamp_ns) for r in results] == [(i, i * 1000) for i in range(4)]
    assert [int(r.label_map[0, 0]) for r in results] == [2, 3, 4, 5]
    with pytest.raises(FrameError, match="homography"):
        next(make_model(matrix=True).stream([picture]))


def test_a_frame_on_the_gpu_is_refused_by_a_backend_of_the_host(make_model):
    class OnGpu:
        __cuda_array_interface__: ClassVar = {"shape": (4, 4, 3), "typestr": "|u1", "data": (4096, False), "version": 3}

    with pytest.raises(FrameError, match="the frame is on the GPU"):
        next(make_model().stream([OnGpu()]))


def test_close_does_not_wait_for_a_driver_that_sleeps(make_model):
    class Sleeping(Numbered):
        def read(self):
            if self.reads == 2:
                asleep.set()
                wake.wait(60)
            return super().read()

    asleep, wake = threading.Event(), threading.Event()
    source = Sleeping(10, live=True)
    with make_model().stream(source) as stream:
        next(stream)
        assert asleep.wait(10)
        start = time.perf_counter()
        stream.close()
        assert time.perf_counter() - start < 1
        assert stream.session.sources["numbered"].state is SourceState.ENDED
        assert list(stream) == [] and source.reads == 2
    wake.set()
