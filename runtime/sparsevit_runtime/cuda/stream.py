"""Order: streams of work, events in them, and graphs of work recorded once."""

from __future__ import annotations

from collections.abc import Callable

from .memory import DeviceView, PinnedBuffer
from .runtime import CAPTURING, CudaError, CudaRuntime, Owned


class Event(Owned):
    """A point in a stream's work, with its time."""

    def __init__(self, cuda: CudaRuntime) -> None:
        # A waiting thread sleeps instead of spinning: capture and decoding need the core.
        flags = cuda.bindings.cudaEventBlockingSync
        super().__init__(cuda, cuda.call("cudaEventCreateWithFlags", flags), "cudaEventDestroy")

    def synchronize(self) -> None:
        """Waits until the work before it is done. Raises CudaError when that failed."""
        self._cuda.call("cudaEventSynchronize", self.handle)

    def milliseconds_after(self, earlier: Event) -> float:
        """Time from an earlier event to this one; both are done."""
        return float(self._cuda.call("cudaEventElapsedTime", earlier.handle, self.handle))


class Graph(Owned):
    """Work recorded by `Stream.capture`, with the addresses it had then."""

    def __init__(self, cuda: CudaRuntime, graph: object) -> None:
        super().__init__(cuda, cuda.call("cudaGraphInstantiate", graph, 0), "cudaGraphExecDestroy")


class Stream(Owned):
    """Work in order, beside the work of other streams.

    Attributes:
        address: the handle as a number, for other libraries.
    """

    def __init__(self, cuda: CudaRuntime) -> None:
        flags = cuda.bindings.cudaStreamNonBlocking
        super().__init__(cuda, cuda.call("cudaStreamCreateWithFlags", flags), "cudaStreamDestroy")
        self.address = int(self.handle)

    def upload(self, source: PinnedBuffer, target: DeviceView, nbytes: int, start: int = 0) -> None:
        """Queues a copy of bytes from `start` on to the first bytes of a view."""
        kind = self._cuda.bindings.cudaMemcpyKind.cudaMemcpyHostToDevice
        address = target.part(0, nbytes).address
        self._cuda.call("cudaMemcpyAsync", address, source.address + start, nbytes, kind, self.handle)

    def download(self, source: DeviceView, target: PinnedBuffer, nbytes: int) -> None:
        """Queues a copy of the first bytes from the GPU."""
        kind = self._cuda.bindings.cudaMemcpyKind.cudaMemcpyDeviceToHost
        address = source.part(0, nbytes).address
        self._cuda.call("cudaMemcpyAsync", target.address, address, nbytes, kind, self.handle)

    def record(self, event: Event) -> None:
        """Puts the event behind the work queued so far."""
        self._cuda.call("cudaEventRecord", event.handle, self.handle)

    def wait(self, event: Event) -> None:
        """Holds back the work queued from now on until the event is reached. Does not hold the caller."""
        self._cuda.call("cudaStreamWaitEvent", self.handle, event.handle, 0)

    def wait_for(self, stream: int, event: Event) -> None:
        """The same for the work queued so far on somebody else's stream; `event` is used for it."""
        self._cuda.call("cudaEventRecord", event.handle, stream)
        self.wait(event)

    def launch(self, graph: Graph) -> None:
        """Queues a graph."""
        self._cuda.call("cudaGraphLaunch", graph.handle, self.handle)

    def synchronize(self) -> None:
        """Waits for all work queued so far. Raises CudaError when some of it failed."""
        self._cuda.call("cudaStreamSynchronize", self.handle)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Records what `work` queues on this stream instead of running it; other threads are not disturbed.

        Raises:
            CudaError: something in it cannot be captured. Whatever `work` raises is passed on. The stream is usable
                afterwards.
        """
        with CAPTURING:
            recorded = self._record(work)
        try:
            return Graph(self._cuda, recorded)
        finally:
            self._cuda.call("cudaGraphDestroy", recorded)

    def _record(self, work: Callable[[], None]) -> object:
        mode = self._cuda.bindings.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._cuda.call("cudaStreamBeginCapture", self.handle, mode)
        try:
            work()
        except BaseException:
            self._end_failed_capture()
            raise
        try:
            return self._cuda.call("cudaStreamEndCapture", self.handle)
        except CudaError:
            self._cuda.forget_error()
            raise

    def _end_failed_capture(self) -> None:
        error, recorded = self._cuda.bindings.cudaStreamEndCapture(self.handle)
        if not int(error):
            self._cuda.call("cudaGraphDestroy", recorded)
        self._cuda.forget_error()
