"""The loop of `sparsevit run`: a session from a source to sinks, which draw and encode in threads of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sparsevit_runtime import Model, Outlet, Result, Session, Sink, Source, draw_result
from sparsevit_runtime.errors import SourceError, SourceLostError
from sparsevit_runtime.live.outlet import Pull
from sparsevit_runtime.runner import DEFAULT_THRESHOLD
from sparsevit_runtime.sinks import StopStream
from sparsevit_runtime.sinks.video import HIGHEST_FPS, LOWEST_FPS
from sparsevit_runtime.windows.level import Level
from sparsevit_runtime.windows.plan import PlanLike

#: Results of a file that may wait for this thread. Those of a live source are handed over directly, to be fresh.
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        frames: written to the sinks.
        seconds: time from asking for the first result until the last was written.
        inference_ms: inference ms of each frame, (frames,) float64.
        dropped: frames a live source gave up because the model was busy.
        window_share: windows computed among all windows of all blocks.
        damaged: frames that did not decode.
        reconnects: times a live source came back after it was lost.
        stop: exception of the Ctrl-C or signal that ended it; None when it ended by itself.
    """

    frames: int
    seconds: float
    inference_ms: np.ndarray
    dropped: int
    window_share: float
    stop: KeyboardInterrupt | None = None
    damaged: int = 0
    reconnects: int = 0

    @property
    def interrupted(self) -> bool:
        """Ended by Ctrl-C or a signal."""
        return self.stop is not None

    @property
    def fps(self) -> float:
        """Frames per second, end to end."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


def playback_fps(source: Source, inference_ms: float) -> float | None:
    """Frames per second to expect: a live source gives no more than the model can take. A hint alone: videos take the
    times of their frames, and no rate that a container claims keeps one from being written."""
    known = source.fps is not None and LOWEST_FPS <= source.fps <= HIGHEST_FPS
    if not source.live:
        return source.fps if known else None
    fastest = min(1e3 / max(inference_ms, 1e-3), HIGHEST_FPS)
    return min(source.fps, fastest) if source.fps is not None and known else fastest


def run_model(
    model: Model,
    source: Source,
    sinks: Sequence[Sink],
    sparsity: PlanLike | Level | None = None,
    *,
    activity: bool = False,
    threshold: float = DEFAULT_THRESHOLD,
    draw: bool = True,
    stage: int | None = None,
    limit: int | None = None,
    on_result: Callable[[Result, int], None] = lambda result, frames: None,
) -> RunSummary:
    """Writes the results of a source's frames to all sinks until it ends, someone stops it, or `limit` frames are done.

    Ctrl-C ends any source like the end of its stream: the sinks keep what they have, with what was in the backend.

    Args:
        model: loaded.
        source: open; closed at the end.
        sinks: open; stay open.
        sparsity: share pruned, in any form `Plan.parse` reads, or a level; None computes all windows.
        activity: draw which windows were computed.
        threshold: least score of a detection.
        draw: annotate the frames of sinks that want pictures; without, they get the frame as it came.
        stage: stage whose windows are drawn; None for all.
        limit: frames at most; None for all.
        on_result: listener, told each result and the frames done, in this thread.

    Raises:
        SourceLostError: a live source went away and did not come back.
        PlanError, SourceError, FrameError, BackendError, SinkError, MissingDependencyError: from the parts.
    """
    watched = [sink for sink in sinks if sink.main_thread]
    outlets = [Outlet(sink, essential=True) for sink in sinks if not sink.main_thread]
    results = Pull(0 if source.live else _AHEAD)
    session = Session(
        model.runner,
        source,
        [*outlets, results],
        level=sparsity,
        activity=activity,
        threshold=threshold,
        draw=partial(draw_result, stage=stage) if draw else lambda image, result: image,
        limit=limit,
    )
    for sink in sinks:
        sink.attach(session)
    done: list[Result] = []
    inference_ms: list[float] = []

    def take(sinks: Sequence[Sink]) -> None:
        for delivery in results:
            result = delivery.result
            inference_ms.append(result.timings.inference_ms)
            done[:] = [result]
            for sink in sinks:
                sink.write(result, delivery.picture() if sink.needs_image else None)
            on_result(result, len(inference_ms))
        session.wait()

    stopped: KeyboardInterrupt | None = None
    start = time.perf_counter()
    with session:
        try:
            take(watched)
        except (StopStream, KeyboardInterrupt) as stop:
            stopped = stop if isinstance(stop, KeyboardInterrupt) else None
            session.stop()
            take([])
        except SourceError as error:
            if source.live and inference_ms:  # it was there
                raise SourceLostError(str(error)) from error
            raise
        seconds = time.perf_counter() - start
    dropped, share = (done[0].dropped, done[0].window_share) if done else (0, 1.0)
    counts = next(iter(session.metrics.sources.values()))
    return RunSummary(
        len(inference_ms), seconds, np.array(inference_ms), dropped, share, stopped, counts.damaged, counts.reconnects
    )
