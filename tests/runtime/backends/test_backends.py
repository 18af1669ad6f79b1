"""What all backends have in common: every call on a closed one, and inputs beside the pixels."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tiny
from simulated_engines import write_engine
from simulated_gpu import Cuda, simulated_tensorrt
from sparsevit_runtime import load
from sparsevit_runtime.backends import tensorrt
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.cuda import CudaRuntime
from sparsevit_runtime.errors import BackendError, FrameError
from sparsevit_runtime.images.letterbox import Letterbox

FRAME = np.zeros((64, 96, 3), np.uint8)
IMAGES = np.zeros((1, 32, 48, 3), np.uint8)
LETTERBOX = Letterbox((96, 64), (32, 48))


@pytest.fixture(params=["onnxruntime", "tensorrt", "tensorrt, integrated"])
def opened(request, tmp_path, monkeypatch):
    """Function (properties of a tiny model) -> the model loaded."""

    def open_(**properties):
        path = tiny.write_model(tmp_path / "tiny.onnx", **properties)
        if request.param == "onnxruntime":
            return load(path, threads=1)
        cuda = Cuda(integrated="integrated" in request.param)
        monkeypatch.setitem(sys.modules, "tensorrt", simulated_tensorrt(cuda, path))
        monkeypatch.setattr(tensorrt, "open_cuda", lambda: CudaRuntime(cuda))
        with load(path, threads=1) as reference:
            return load(write_engine(tmp_path / "tiny.engine", reference.card))

    return open_


def queue_up(model):
    with model.backend.queue():
        pass


CALLS = {
    "run": lambda model: model.backend.run(feeds_of(IMAGES), ["labels"]),
    "run_frames": lambda model: model.backend.run_frames([FRAME], [LETTERBOX], {}, ["labels"]),
    "prefers_gpu_letterbox": lambda model: model.backend.prefers_gpu_letterbox([FRAME]),
    "queue": queue_up,
    "prepare": lambda model: model.backend.prepare([None]),
    "measure": lambda model: model.backend.measure(feeds_of(IMAGES), ["labels"]),
    "layers": lambda model: model.backend.layers(feeds_of(IMAGES)),
    "call": lambda model: model(FRAME),
    "call with a large frame": lambda model: model(np.zeros((2000, 2000, 3), np.uint8)),
    "batch": lambda model: model.batch([FRAME, FRAME]),
    "stream": lambda model: next(model.stream([FRAME])),
    "stream of large frames": lambda model: next(model.stream([np.zeros((2000, 2000, 3), np.uint8)])),
    "warm_up": lambda model: model.warm_up(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_backend_answers_every_call_the_same_way(opened, call):
    model = opened()
    model.close()
    model.close()
    with pytest.raises(BackendError, match=r"tiny\.(onnx|engine) is closed; load the model again"):
        CALLS[call](model)


def test_a_queue_of_a_backend_closed_meanwhile_says_so(opened):
    model = opened()
    if not model.backend.capabilities.queue:
        with pytest.raises(BackendError, match="do not overlap"):
            queue_up(model)
        return
    with model.backend.queue() as queue:
        model.close()
        with pytest.raises(BackendError, match="is closed"):
            queue.submit(feeds_of(IMAGES), ["labels"])


def test_what_a_backend_cannot_do_it_says(opened):
    model = opened()
    for name in ("queue", "measure", "layers"):
        if not getattr(model.backend.capabilities, name):
            with pytest.raises(BackendError):
                CALLS[name](model)
        else:
            CALLS[name](model)


def matrix(value):
    return {tiny.MATRIX: np.full((3, 3), value, np.float32)}


def test_a_matrix_comes_with_each_frame(opened):
    model = opened(matrix=True)
    plain = model(FRAME, inputs=matrix(0)).label_map
    for value in (3, 1, 7):
        np.testing.assert_array_equal(model(FRAME, inputs=matrix(value)).label_map, plain + value)
    both = model.batch([FRAME, FRAME], inputs=[matrix(2), matrix(5)])
    np.testing.assert_array_equal(both[1].label_map, both[0].label_map + 3)
    model.warm_up()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, r"takes 'homography' \(3, 3\) float32 with each frame, and got none; pass inputs="),
        ({tiny.MATRIX: np.eye(2)}, r"homography must be \(3, 3\) float32, got \(2, 2\) float64"),
        ({tiny.MATRIX: [["a"] * 3] * 3}, "homography must be"),
    ],
)
def test_a_frame_without_its_matrix_is_refused(opened, inputs, message):
    with pytest.raises(FrameError, match=message):
        opened(matrix=True)(FRAME, inputs=inputs)
