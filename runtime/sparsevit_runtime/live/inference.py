"""Runs prepared frames on the backend, in the order the scheduler gives them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import as_whole
from .capture import PreparedFrame
from .channel import Channel, Closed
from .scheduler import Scheduler

if TYPE_CHECKING:
    from ..runner import Request, Runner, RunnerQueue
    from ..windows.level import Level


@dataclass(eq=False, slots=True)
class Answer:
    """What the backend said about a frame.

    Attributes:
        prepared: the frame.
        request: request that it was run with.
        outputs: outputs of the backend.
        sample: position of the frame in their batch.
    """

    prepared: PreparedFrame
    request: Request
    outputs: dict[str, np.ndarray]
    sample: int


@dataclass(eq=False, slots=True)
class _Flight:
    """Frames in the backend, in one run."""

    frames: list[PreparedFrame]
    request: Request
    start: float
    ticket: Any


class Inference:
    """The backend's place in a session.

    Every frame is stamped with the request in force when it is submitted. Where runs overlap, two are in flight; an
    answer is never held back for a frame yet to come, and frames run together only when all of them are there.

    Threads: one of its own, "sparsevit-inference", the only one of its session that calls the backend. It ends when the
    scheduler has nothing more, at an error, or when nobody takes answers any more; then the frames that were left are
    dropped.
    """

    def __init__(
        self,
        runner: Runner,
        scheduler: Scheduler[PreparedFrame],
        answers: Channel[Answer],
        request: Callable[[], Request],
        oldest_s: float | None = None,
        most: int = 1,
        levels: Sequence[Level] = (),
    ) -> None:
        """
        Args:
            runner: runner of the model.
            scheduler: gives the frames.
            answers: take what the backend said; closed at the end, with the error if there was one.
            request: tells what is asked for at this moment.
            oldest_s: frames of live sources that came longer ago are dropped; None for none.
            most: frames of one run.
            levels: levels that will be asked for, made ready before the first frame.
        """
        self._runner = runner
        self._scheduler = scheduler
        self._answers = answers
        self._request = request
        self._oldest_s = oldest_s
        self._most = most
        self._levels = levels
        self._left: PreparedFrame | None = None  # taken from the scheduler, and of another kind than those before
        self._thread = threading.Thread(target=self._run, name="sparsevit-inference", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Waits for the run under way, if any; the backend may be closed afterwards."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        failure = None
        try:
            for batch in sorted({1, self._most}, reverse=True):
                self._runner.prepare(self._levels, batch)
            with self._runner.queue() as queue:
                if queue is None:
                    self._run_one_by_one()
                else:
                    self._run_overlapping(queue)
        except Closed:
            pass
        except Exception as error:
            failure = error
        for prepared in (*([self._left] if self._left else []), *self._scheduler.abandon()):
            prepared.drop()
        self._answers.close(failure)

    def _run_one_by_one(self) -> None:
        while True:
            frames = self._next(wait=True)
            if not frames:
                continue
            request, start = self._request(), time.perf_counter()
            try:
                outputs = self._runner.run([each.placed for each in frames], _images(frames), request)
            except Exception:
                _fail(frames)
                raise
            self._hand_over(frames, request, outputs, start)

    def _run_overlapping(self, queue: RunnerQueue) -> None:
        flying: deque[_Flight] = deque()
        try:
            while True:
                try:
                    frames = self._next(wait=not flying)
                    if frames:
                        flying.append(self._submit(queue, frames))
                except Exception:  # the end, or an error: it comes behind the frames before it
                    while flying:
                        self._land(queue, flying.popleft())
                    raise
                if len(flying) == 2 or (flying and not frames):
                    self._land(queue, flying.popleft())
        finally:
            for flight in flying:
                for prepared in flight.frames:
                    prepared.drop()

    def _next(self, wait: bool) -> list[PreparedFrame]:
        """The next frames: one, and as many of those that are there as well as run together. None where none is there
        yet, or what was there is too old."""
        frames: list[PreparedFrame] = []
        while len(frames) < self._most:
            prepared, self._left = self._left, None
            try:
                prepared = prepared or (self._scheduler.get() if wait else self._scheduler.get_if_any())
            except Exception:
                if frames:
                    break  # the scheduler says it again
                raise
            wait = False
            if prepared is None:
                break
            if prepared.capture.pace is not None:
                prepared.capture.pace.taken()
            if self._is_too_old(prepared):
                prepared.drop()
            elif frames and (prepared.images is None) != (frames[0].images is None):
                self._left = prepared
                break
            else:
                frames.append(prepared)
        return frames

    def _is_too_old(self, prepared: PreparedFrame) -> bool:
        if self._oldest_s is None or not prepared.capture.source.live:
            return False
        return time.perf_counter() - prepared.arrived > self._oldest_s

    def _submit(self, queue: RunnerQueue, frames: list[PreparedFrame]) -> _Flight:
        request, start = self._request(), time.perf_counter()
        try:
            ticket = queue.submit([each.placed for each in frames], _images(frames), request)
        except Exception:
            _fail(frames)
            raise
        for prepared in frames:
            prepared.release()
        return _Flight(frames, request, start, ticket)

    def _land(self, queue: RunnerQueue, flight: _Flight) -> None:
        try:
            outputs = queue.collect(flight.ticket)
        except Exception:
            _fail(flight.frames)
            raise
        self._hand_over(flight.frames, flight.request, outputs, flight.start)

    def _hand_over(
        self, frames: list[PreparedFrame], request: Request, outputs: dict[str, np.ndarray], start: float
    ) -> None:
        for prepared in frames:
            prepared.timings["inference_ms"] = (time.perf_counter() - start) * 1e3
            prepared.release()
        for sample, prepared in enumerate(frames):
            try:
                self._answers.put(Answer(prepared, request, outputs, sample))
            except Closed:
                for left in frames[sample:]:
                    left.drop()
                raise


def most_together(runner: Runner, batch: int | None, sources: int) -> int:
    """Frames of one run at most.

    Args:
        runner: runner of the model.
        batch: most that is wanted; None for one of each source on a GPU, and for one on a CPU, where a batch takes as
            long as its frames one by one.
        sources: number of sources.

    Raises:
        ArgumentError: a batch below 1.
    """
    backend = runner.backend
    if batch is None:
        wanted = 1 if backend.device.kind == "cpu" else sources
    else:
        wanted = as_whole(batch, "batch", 1, 2**16)
    most = backend.batches[1]
    return wanted if most is None else min(wanted, most)


def _images(frames: list[PreparedFrame]) -> np.ndarray | None:
    """The letterboxed images in one batch; None where they are letterboxed on the GPU."""
    images = [each.images for each in frames if each.images is not None]
    if len(images) < 2:
        return images[0] if images else None
    return np.concatenate(images)


def _fail(frames: list[PreparedFrame]) -> None:
    for prepared in frames:
        prepared.fail()
