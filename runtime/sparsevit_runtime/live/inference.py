"""Runs prepared frames on the backend, in the order the scheduler gives them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .capture import PreparedFrame
from .channel import Channel, Closed
from .scheduler import Scheduler

if TYPE_CHECKING:
    from ..runner import Request, Runner, RunnerQueue


@dataclass(eq=False, slots=True)
class Answer:
    """What the backend said about a frame.

    Attributes:
        prepared: the frame.
        request: request that it was run with.
        outputs: outputs of the backend, a batch of one.
    """

    prepared: PreparedFrame
    request: Request
    outputs: dict[str, np.ndarray]


@dataclass(eq=False, slots=True)
class _Flight:
    """A frame in the backend."""

    prepared: PreparedFrame
    request: Request
    start: float
    ticket: Any


class Inference:
    """The backend's place in a session.

    Every frame is stamped with the request in force when it is submitted. Where runs overlap, two are in flight; an
    answer is never held back for a frame yet to come.

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
    ) -> None:
        """
        Args:
            runner: runner of the model.
            scheduler: gives the frames.
            answers: take what the backend said; closed at the end, with the error if there was one.
            request: tells what is asked for at this moment.
            oldest_s: frames of live sources that came longer ago are dropped; None for none.
        """
        self._runner = runner
        self._scheduler = scheduler
        self._answers = answers
        self._request = request
        self._oldest_s = oldest_s
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
            with self._runner.queue() as queue:
                if queue is None:
                    self._run_one_by_one()
                else:
                    self._run_overlapping(queue)
        except Closed:
            pass
        except Exception as error:
            failure = error
        for prepared in self._scheduler.abandon():
            prepared.drop()
        self._answers.close(failure)

    def _run_one_by_one(self) -> None:
        while True:
            prepared = self._next(wait=True)
            if prepared is None:
                continue
            request, start = self._request(), time.perf_counter()
            try:
                outputs = self._runner.run([prepared.placed], prepared.images, request)
            except Exception:
                prepared.fail()
                raise
            self._hand_over(prepared, request, outputs, start)

    def _run_overlapping(self, queue: RunnerQueue) -> None:
        flying: deque[_Flight] = deque()
        try:
            while True:
                try:
                    prepared = self._next(wait=not flying)
                    if prepared is not None:
                        flying.append(self._submit(queue, prepared))
                except Exception:  # the end, or an error: it comes behind the frames before it
                    while flying:
                        self._land(queue, flying.popleft())
                    raise
                if len(flying) == 2 or (flying and prepared is None):
                    self._land(queue, flying.popleft())
        finally:
            for flight in flying:
                flight.prepared.drop()

    def _next(self, wait: bool) -> PreparedFrame | None:
        """The next frame; None where there is none yet, or it was too old."""
        prepared = self._scheduler.get() if wait else self._scheduler.get_if_any()
        if prepared is None or self._oldest_s is None or not prepared.capture.source.live:
            return prepared
        if time.perf_counter() - prepared.arrived <= self._oldest_s:
            return prepared
        prepared.drop()
        return None

    def _submit(self, queue: RunnerQueue, prepared: PreparedFrame) -> _Flight:
        request, start = self._request(), time.perf_counter()
        try:
            ticket = queue.submit([prepared.placed], prepared.images, request)
        except Exception:
            prepared.fail()
            raise
        prepared.release()
        return _Flight(prepared, request, start, ticket)

    def _land(self, queue: RunnerQueue, flight: _Flight) -> None:
        try:
            outputs = queue.collect(flight.ticket)
        except Exception:
            flight.prepared.fail()
            raise
        self._hand_over(flight.prepared, flight.request, outputs, flight.start)

    def _hand_over(
        self, prepared: PreparedFrame, request: Request, outputs: dict[str, np.ndarray], start: float
    ) -> None:
        prepared.timings["inference_ms"] = (time.perf_counter() - start) * 1e3
        prepared.release()
        try:
            self._answers.put(Answer(prepared, request, outputs))
        except Closed:
            prepared.drop()
            raise
