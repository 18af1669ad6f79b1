"""Reads a source into its lane of the scheduler, every frame made ready to run."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..sources.addresses import hide_passwords
from ..sources.base import Frame, Source
from .channel import Channel, Closed
from .driver import close_aside, close_quietly
from .metrics import Counters, SourceMetrics
from .pace import Pace
from .scheduler import Scheduler
from .states import SourceState, Tracker
from .supervisor import Supervisor

if TYPE_CHECKING:
    from ..runner import PlacedFrame, Runner

#: Frames a file's thread may be ahead of the next one; enough to ride over uneven decoding and drawing.
_AHEAD = 2


@dataclass(eq=False, slots=True)
class PreparedFrame:
    """A frame ready to run; it ends by exactly one of `process`, `drop` and `fail`.

    Attributes:
        capture: capture that read it.
        frame: frame as it came.
        placed: place in the model's input.
        images: its letterboxed image (1, h, w, 3) uint8; None for a frame that is letterboxed on the GPU.
        timings: milliseconds by stage so far.
        arrived: performance counter when it came, seconds.
    """

    capture: Capture
    frame: Frame
    placed: PlacedFrame
    images: np.ndarray | None
    timings: dict[str, float]
    arrived: float

    def release(self) -> None:
        """Gives the image buffer back; the backend has read it."""
        if self.images is not None:
            self.capture.buffers.append(self.images)
            self.images = None

    def process(self, postprocess_ms: float) -> float:
        """Counts it as answered, now.

        Returns:
            Milliseconds since it came. Of a file, which waits for the model, those that it was worked on.
        """
        stages = {name.removesuffix("_ms"): ms for name, ms in self.timings.items()}
        latency_ms = (time.perf_counter() - self.arrived) * 1e3
        self.capture.counters.process(stages | {"postprocess": postprocess_ms, "latency": latency_ms})
        worked_ms = stages["preprocess"] + stages["inference"] + postprocess_ms
        return latency_ms if self.capture.source.live else worked_ms

    def drop(self) -> None:
        """Gives it up."""
        self.release()
        self.capture.counters.drop()

    def fail(self) -> None:
        """Counts it as one that cannot be answered."""
        self.release()
        self.capture.counters.fail()


class Capture:
    """A source on its way into a session.

    A live source never waits: its lane is a one-slot mailbox, in which a frame that nobody took is replaced by the next
    and counted. Files wait.

    Threads: one of its own, "sparsevit-capture", which alone reads the source and prepares its frames, and closes the
    source when it ends. It is left to itself when it hangs in a driver.

    Attributes:
        name: name of the source in the session.
        source: source being read.
        counters: its frames.
        tracker: state of the source.
        lane: the prepared frames.
        pace: tells a live source which frames are worth decoding; None for files, of which none is left out.
        buffers: buffers for letterboxed images, those that are free. As many are made as frames wait or run at once.
    """

    def __init__(self, name: str, source: Source, runner: Runner, scheduler: Scheduler[PreparedFrame]) -> None:
        self.name = name
        self.source = source
        self.counters = Counters()
        self._supervised = isinstance(source, Supervisor)
        self.tracker = source.tracker if isinstance(source, Supervisor) else Tracker(SourceState.STARTING)
        self.lane: Channel[PreparedFrame] = scheduler.lane(1 if source.live else _AHEAD, replace=source.live)
        self.buffers: deque[np.ndarray] = deque()
        self.pace: Pace | None = None
        if source.live:
            self.pace = Pace(lambda: scheduler.waiting)
            source.wants = self._wants
        self._runner = runner
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="sparsevit-capture", daemon=True)
        self._closer: threading.Thread | None = None

    @property
    def metrics(self) -> SourceMetrics:
        return replace(
            self.counters.snapshot(),
            reconnects=getattr(self.source, "reconnects", 0),
            reconnect_reasons=getattr(self.source, "reconnect_reasons", {}),
            damaged=self.source.damaged,
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Wants no more frames, and has the source closed. Waits for nothing; safe to repeat."""
        with self._lock:  # whoever joins after stopping knows the thread that closes
            if self._stopped:
                return
            self._stopped = True
            if not self._supervised:
                self._enter(SourceState.ENDED, "stopped")
            if self._thread.ident is None or self._thread.is_alive():
                self._closer = close_aside(self.source)

    def join(self, until: float) -> None:
        """Waits for the threads, not longer than until a moment of the monotonic clock."""
        for thread in (self._thread, self._closer):
            if thread is not None and thread.ident is not None and thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        try:
            self._capture()
        except Closed:
            self._enter(SourceState.ENDED, "stopped")
        except Exception as error:
            self._enter(SourceState.LOST, hide_passwords(" ".join(str(error).split())))
            self.lane.close(error)
        else:
            self._enter(SourceState.ENDED, "stopped" if self._stopped else "the end of the stream")
        finally:
            self.lane.close()
            close_quietly(self.source)

    def _capture(self) -> None:
        while True:
            start = time.perf_counter()
            frame = self.source.read()
            if frame is None:
                return
            arrived = time.perf_counter()
            self.counters.capture()
            self._enter(SourceState.LIVE)
            try:
                prepared = self._prepare(frame, start, arrived)
            except Exception:
                self.counters.fail()
                raise
            try:
                replaced = self.lane.put(prepared)
            except Closed:
                prepared.drop()
                raise
            if self.pace is not None:
                self.pace.prepared()
            if replaced is not None:
                replaced.drop()

    def _wants(self) -> bool:
        """Asked by a live source, in the driver's thread, of a frame that is not decoded yet. One that is not wanted
        has come and is dropped."""
        if self.pace is None or self.pace.wants():
            return True
        self.counters.capture()
        self.counters.drop()
        return False

    def _prepare(self, frame: Frame, start: float, arrived: float) -> PreparedFrame:
        placed = self._runner.place(frame.image, frame.inputs)
        images = None
        if not placed.on_gpu:
            images = self._buffer()
            self._runner.letterbox(placed, images[0])
        ready = time.perf_counter()
        timings = {"capture_ms": (arrived - start) * 1e3, "preprocess_ms": (ready - arrived) * 1e3}
        return PreparedFrame(self, frame, placed, images, timings, arrived)

    def _buffer(self) -> np.ndarray:
        try:
            return self.buffers.pop()
        except IndexError:
            return self._runner.new_buffer()

    def _enter(self, state: SourceState, reason: str = "") -> None:
        self.tracker.change(state, reason, unless=(SourceState.LOST, SourceState.ENDED))
