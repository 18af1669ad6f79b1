"""Decodes answers into results and hands them to the outlets."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..tasks import Result
from ..tracking import Follower
from .channel import Channel, Closed
from .delivery import Drawing
from .inference import Answer
from .metrics import Rate
from .outlet import Outlet

if TYPE_CHECKING:
    from ..runner import Request, Runner


class Decoding:
    """Between the backend and the outlets.

    Threads: one of its own, "sparsevit-decoding". It ends when there are no more answers, or at an error.
    """

    def __init__(
        self,
        runner: Runner,
        answers: Channel[Answer],
        outlets: Sequence[Outlet],
        drawing: Drawing,
        on_end: Callable[[Exception | None], None],
        on_cost: Callable[[Request, float, float], None],
        follower: Follower | None = None,
    ) -> None:
        """
        Args:
            runner: runner of the model.
            answers: answers of the backend.
            outlets: take every result.
            drawing: makes deliveries of results, whose pictures are drawn once asked for.
            on_end: called in this thread at the end, with the error if there was one.
            on_cost: called in this thread with what a frame was asked for, its latency and its inference time, ms.
            follower: follows the objects of every source; None where nothing is tracked.
        """
        self._runner = runner
        self._answers = answers
        self._outlets = outlets
        self._drawing = drawing
        self._on_end = on_end
        self._on_cost = on_cost
        self._follower = follower
        self._rates: defaultdict[str, Rate] = defaultdict(Rate)
        self._thread = threading.Thread(target=self._run, name="sparsevit-decoding", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        failure = None
        try:
            while True:
                delivery = self._drawing.deliver(self._decode(self._answers.get()))
                for outlet in self._outlets:
                    outlet.put(delivery)
        except Closed:
            pass
        except Exception as error:
            failure = error
        for answer in self._answers.abandon():
            answer.prepared.drop()
        self._on_end(failure)

    def _decode(self, answer: Answer) -> Result:
        prepared = answer.prepared
        capture, frame = prepared.capture, prepared.frame
        try:
            result = self._runner.decode(
                answer.outputs,
                answer.sample,
                prepared.placed,
                answer.request,
                prepared.timings,
                frame_index=frame.index,
                timestamp_ns=frame.timestamp_ns,
                dropped=capture.counters.dropped,
                source=capture.name,
                file=frame.file,
                fps=self._rates[capture.name].tick(time.perf_counter()),
            )
            if self._follower is not None:
                result = self._follower.follow(capture.name, capture.source, result)
        except Exception:
            prepared.fail()
            raise
        latency_ms = prepared.process(result.timings.postprocess_ms)
        self._on_cost(answer.request, latency_ms, prepared.timings["inference_ms"])
        return result
