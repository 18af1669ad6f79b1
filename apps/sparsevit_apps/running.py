"""The loop of `sparsevit run`: a session from a source to sinks, which draw and encode in threads of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sparsevit_runtime import Model, Outlet, Result, Session, Sink, Source, draw_result, open_sink
from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.live.outlet import Pull
from sparsevit_runtime.runner import DEFAULT_THRESHOLD
from sparsevit_runtime.sinks import StopStream
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
        interrupted: ended by Ctrl-C or a signal.
    """

    frames: int
    seconds: float
    inference_ms: np.ndarray
    dropped: int
    window_share: float
    interrupted: bool = False

    @property
    def fps(self) -> float:
        """Frames per second, end to end."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


def open_sinks(uris: Sequence[str], stack: ExitStack, source: Source, playback_fps: float | None) -> list[Sink]:
    """Opens every sink; the stack completes them, or removes what is half-written when an exception passes.

    Args:
        uris: places in any form `open_sink` takes.
        stack: stack that owns them.
        source: source whose frames they will get.
        playback_fps: rate of videos.

    Raises:
        SinkError: one cannot be opened, two are the same, or one would replace the source.
    """
    places = [_place(uri) for uri in uris]
    for i, (uri, place) in enumerate(zip(uris, places)):
        if place is not None and place in places[:i]:
            raise SinkError(f"the sink {uri!r} is given twice; name each output once")
        if place is not None and place.is_file() and place == _place(source.name):
            raise SinkError(f"the sink {uri!r} would replace the source; write to another file")
    return [stack.enter_context(open_sink(uri, fps=playback_fps)) for uri in uris]


def playback_fps(source: Source, inference_ms: float) -> float | None:
    """Rate at which a video plays as fast as the scene: a live source gives no more than the model can take."""
    if not source.live:
        return source.fps
    fastest = 1e3 / max(inference_ms, 1e-3)
    return min(source.fps, fastest) if source.fps else fastest


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

    Ctrl-C ends a live source like any end of stream: the sinks keep what they have, with what was in the backend. On a
    file it passes through, and the sinks remove what is not complete.

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
        on_result: told each result and the frames done, in this thread.

    Raises:
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

    interrupted = False
    start = time.perf_counter()
    with session:
        try:
            take(watched)
        except (StopStream, KeyboardInterrupt) as stop:
            interrupted = isinstance(stop, KeyboardInterrupt)
            if interrupted and not source.live:
                raise
            session.stop()
            take([])
        seconds = time.perf_counter() - start
    dropped, share = (done[0].dropped, done[0].window_share) if done else (0, 1.0)
    return RunSummary(len(inference_ms), seconds, np.array(inference_ms), dropped, share, interrupted)


def written_files(sinks: Sequence[Sink]) -> list[tuple[str, int]]:
    """Name and bytes of what closed sinks left: files, and folders with all they hold."""
    written = []
    for sink in sinks:
        path = _place(sink.name)
        if path is not None and path.is_file():
            written.append((sink.name, path.stat().st_size))
        elif path is not None and path.is_dir():
            written.append((f"{sink.name}/", sum(p.stat().st_size for p in path.glob("frame_*"))))
    return written


def _place(uri: str) -> Path | None:
    """The file or folder behind a URI; None for displays and the like."""
    return None if "://" in uri else Path(uri.partition("?")[0]).expanduser().resolve()
