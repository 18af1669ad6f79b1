"""The loop of `sparsevit run`: a session from sources to sinks, which draw and encode in threads of their own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from sparsevit_runtime import Counts, Model, Outlet, Result, Session, Sink, Source, Tracking, draw_result, probe_image
from sparsevit_runtime.errors import SinkError, SourceError, SourceLostError
from sparsevit_runtime.live.governor import Governor
from sparsevit_runtime.live.outlet import Pull
from sparsevit_runtime.live.states import SourceState
from sparsevit_runtime.sinks import StopStream
from sparsevit_runtime.sinks.video import HIGHEST_FPS, LOWEST_FPS
from sparsevit_runtime.windows.level import Level
from sparsevit_runtime.windows.plan import PlanLike

#: Results of a file that may wait for this thread. Those of a live source are handed over directly, to be fresh.
_AHEAD = 2
#: Frames that the summary's inference times are of: a camera runs for months.
_RECENT = 10_000


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        frames: written to the sinks.
        seconds: time from asking for the first result until the last was written.
        inference_ms: inference ms of each of the last 10,000 frames, (N,) float64.
        dropped: frames a live source gave up because the model was busy.
        window_share: windows computed among all windows of all blocks.
        damaged: frames that did not decode.
        reconnects: times a live source came back after it was lost.
        level_reason: reason for the share of the last frame, where a governor chose it.
        lost: reason why a live source, one of several, did not come back; empty for one that ended otherwise.
        counts: counts at the last frame, where objects were counted.
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
    level_reason: str = ""
    lost: str = ""
    counts: Sequence[Counts] = ()

    @property
    def interrupted(self) -> bool:
        """Ended by Ctrl-C or a signal."""
        return self.stop is not None

    @property
    def fps(self) -> float:
        """Frames per second, end to end."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


@dataclass(slots=True)
class _Tally:
    """What a source has given so far.

    Attributes:
        frames: frames done.
        inference_ms: inference ms of the last of them.
        last: result of the newest; None before the first.
    """

    frames: int = 0
    inference_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    last: Result | None = None

    def add(self, result: Result) -> None:
        self.frames += 1
        self.inference_ms.append(result.timings.inference_ms)
        self.last = result


def warm_up(model: Model, sparsity: PlanLike | Level | None, activity: bool = False) -> float:
    """Runs twice as the session will, and returns the second run's inference time in milliseconds."""
    probe = probe_image(*model.input_hw, seed=0)
    for _ in range(2):
        result = model(probe, sparsity, activity=activity)
    return result.timings.inference_ms


def playback_fps(source: Source, inference_ms: float) -> float | None:
    """Frames per second to expect: a live source gives no more than the model can take. A hint alone: videos take the
    times of their frames, and no rate that a container claims keeps one from being written."""
    known = source.fps is not None and LOWEST_FPS <= source.fps <= HIGHEST_FPS
    if not source.live:
        return source.fps if known else None
    fastest = min(1e3 / max(inference_ms, 1e-3), HIGHEST_FPS)
    return min(source.fps, fastest) if source.fps is not None and known else fastest


def run_model(
    model: Model, source: Source, sinks: Sequence[Sink], sparsity: PlanLike | Level | None = None, **how: Any
) -> RunSummary:
    """Runs one source; see `run_sources`."""
    return run_sources(model, [(source, sinks)], sparsity, **how)[0]


def run_sources(
    model: Model,
    feeds: Sequence[tuple[Source, Sequence[Sink]]],
    sparsity: PlanLike | Level | None = None,
    *,
    activity: bool = False,
    threshold: float | None = None,
    draw: bool = True,
    stage: int | None = None,
    limit: int | None = None,
    governor: Governor | None = None,
    max_age_ms: float | None = None,
    track: bool | Tracking = False,
    on_result: Callable[[Result, int], None] = lambda result, frames: None,
) -> list[RunSummary]:
    """Writes the results of sources to their sinks until all have ended, someone stops it, or `limit` frames are done.

    Several sources share the model, frame by frame; a sink of several gets the results of all of them. Ctrl-C ends any
    source like the end of its stream: the sinks keep what they have, with what was in the backend.

    Args:
        model: loaded.
        feeds: sources of different names, open, closed at the end; and the sinks of each, open, which stay open.
        sparsity: share pruned, in any form `Plan.parse` reads, or a level; None computes all windows.
        activity: draw which windows were computed.
        threshold: least score of a detection; None for what the card says.
        draw: annotate the frames of sinks that want pictures; without, they get the frame as it came.
        stage: stage whose windows are drawn; None for all.
        limit: frames of each source at most; None for all.
        governor: chooses the sparsity, in place of `sparsity`.
        max_age_ms: older frames of live sources are dropped; None for none.
        track: see `Session`.
        on_result: listener, told each result and the frames done of all sources, in this thread.

    Returns:
        What each source did.

    Raises:
        SourceLostError: the last live source went away and did not come back.
        PlanError, SourceError, FrameError, BackendError, SinkError, MissingDependencyError: from the parts.
    """
    watched, outlets = _outlets(feeds)
    live = any(source.live for source, _ in feeds)
    results = Pull(0 if live else _AHEAD)
    session = Session(
        model.runner,
        {source.name: source for source, _ in feeds},
        [*outlets, results],
        level=sparsity,
        activity=activity,
        threshold=threshold,
        draw=partial(draw_result, stage=stage) if draw else lambda image, result: image,
        limit_each=limit,
        governor=governor,
        max_age_ms=max_age_ms,
        track=track,
    )
    for sink in dict.fromkeys(sink for _, sinks in feeds for sink in sinks):
        sink.attach(session)
    tallies = {source.name: _Tally() for source, _ in feeds}

    def take(sinks: Sequence[Sink]) -> None:
        for delivery in results:
            result = delivery.result
            tallies[result.source].add(result)
            for sink in sinks:
                sink.write(result, delivery.picture() if sink.needs_image else None)
            on_result(result, sum(each.frames for each in tallies.values()))
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
            if live and any(each.frames for each in tallies.values()):  # it was there
                raise SourceLostError(str(error)) from error
            raise
        seconds = time.perf_counter() - start
    summaries = []
    for name, counts in session.metrics.sources.items():
        tally = tallies[name]
        result, share = tally.last, 1.0 if tally.last is None else tally.last.window_share
        status = session.sources[name]
        summaries.append(
            RunSummary(
                tally.frames,
                seconds,
                np.array(tally.inference_ms),
                counts.dropped,
                share,
                stopped,
                counts.damaged,
                counts.reconnects,
                "" if result is None else result.level_reason,
                status.reason if status.state is SourceState.LOST else "",
                getattr(result, "counts", ()),
            )
        )
    return summaries


def _outlets(feeds: Sequence[tuple[Source, Sequence[Sink]]]) -> tuple[list[Sink], list[Outlet]]:
    """The sinks that are written in the main thread, and outlets for the others, each with the sources it is for."""
    takers: dict[Sink, list[str]] = {}
    for source, sinks in feeds:
        for sink in sinks:
            takers.setdefault(sink, []).append(source.name)
    watched = [sink for sink in takers if sink.main_thread]
    if watched and len(feeds) > 1:
        raise SinkError(
            f"{watched[0].name} shows one source, and {len(feeds)} are given; see them in a browser: "
            "-o http://localhost:8080"
        )
    outlets = [Outlet(sink, essential=True, sources=names) for sink, names in takers.items() if not sink.main_thread]
    return watched, outlets
