import numpy as np
import pytest

from sparsevit_runtime import Detections
from sparsevit_runtime.errors import FrameError, SinkError
from sparsevit_runtime.live.delivery import Delivery
from sparsevit_runtime.live.outlet import Outlet, Pull
from sparsevit_runtime.sinks import NullSink
from sparsevit_runtime.sinks.display import DisplaySink


def result_of(index=0, image=None):
    return Detections(
        image_wh=(8, 6),
        frame_index=index,
        image=image,
        xyxy=np.zeros((0, 4), np.float32),
        confidence=np.zeros(0, np.float32),
        class_id=np.zeros(0, np.int64),
        names=("car",),
    )


def test_an_outlet_is_called_as_its_target():
    sink = NullSink()
    assert Outlet(sink).name == "null://" and Outlet(sink, name="count").name == "count"
    assert Outlet(result_of).name == "result_of"


def test_a_sink_of_the_main_thread_gets_no_other():
    sink = NullSink()
    sink.main_thread = True
    with pytest.raises(SinkError, match="main thread"):
        Outlet(sink)
    assert DisplaySink.main_thread and not DisplaySink.may_block


def test_a_picture_of_a_frame_on_the_gpu_is_an_error():
    with pytest.raises(FrameError, match="frame 3 is on the GPU"):
        Delivery(result_of(3), lambda image, result: image).picture()


def test_results_are_pulled_once_each_then_the_error_then_nothing():
    pull = Pull(3)
    deliveries = [Delivery(result_of(i), lambda image, result: image) for i in range(2)]
    for delivery in deliveries:
        pull.put(delivery)
    pull.close(OSError("cable"))
    assert [next(pull), next(pull)] == deliveries
    with pytest.raises(OSError, match="cable"):
        next(pull)
    with pytest.raises(StopIteration):
        next(pull)
    assert pull.metrics.written == 2


def test_nothing_is_taken_after_the_end():
    outlet, seen = Outlet(lambda result, picture: seen.append(result), may_block=True), []
    ended = []
    outlet.start(ended.append, lambda: None)
    outlet.put(Delivery(result_of(), lambda image, result: image))
    outlet.close()
    outlet.put(Delivery(result_of(1), lambda image, result: image))
    outlet.join()
    assert [result.frame_index for result in seen] == [0] and ended == [outlet]
