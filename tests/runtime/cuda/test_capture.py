"""Captures beside the work of other threads, on a simulated driver."""

from __future__ import annotations

import threading

import pytest

from simulated_gpu import Cuda
from sparsevit_runtime.cuda import CudaError, CudaRuntime, Stream


def test_waiting_for_the_device_does_not_spoil_a_capture_of_another_thread():
    simulated = Cuda()
    cuda = CudaRuntime(simulated)
    stream = Stream(cuda)
    capturing, waited, captured = threading.Event(), [], []

    def work():
        capturing.set()
        other.join(0.2)  # it would be done by now
        captured.append(list(waited))

    def wait():
        assert capturing.wait(20)
        cuda.synchronize()
        waited.append(True)

    other = threading.Thread(target=wait)
    other.start()
    graph = stream.capture(work)
    other.join(20)
    assert captured == [[]] and waited == [True]
    stream.launch(graph)


def test_a_device_that_is_waited_for_while_it_captures_is_an_error_in_the_simulation():
    simulated = Cuda()
    cuda = CudaRuntime(simulated)
    stream = Stream(cuda)
    with pytest.raises(CudaError, match="cudaErrorStreamCaptureUnsupported"):
        stream.capture(lambda: cuda.call("cudaDeviceSynchronize"))
