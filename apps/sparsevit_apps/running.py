"""The loop of `sparsevit run`: results from a stream, drawn, into sinks.

Capture and inference run in the stream's own threads; drawing and encoding happen here, beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparsevit_runtime import Result, Sink, Source, Stream, draw_result, open_sink
from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.sinks import StopStream


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        frames: written to the sinks.
        seconds: from asking for the first result until the last was written.
        inference_ms: of each frame, (frames,) float64.
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
        uris: in any form `open_sink` takes.
        stack: that owns them.
        source: whose frames they will get.
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


def run_stream(
    stream: Stream,
    sinks: Sequence[Sink],
    *,
    draw: bool = True,
    stage: int | None = None,
    limit: int | None = None,
    on_result: Callable[[Result, int], None] = lambda result, frames: None,
) -> RunSummary:
    """Writes each result of a stream to all sinks until it ends, someone stops it, or `limit` frames are done.

    Ctrl-C ends a live source like any end of stream: the sinks keep what they have. On a file it passes through, and
    the sinks remove what is not complete.

    Args:
        stream: of a model.
        sinks: open; stay open.
        draw: annotate the frames of sinks that want pictures; without, they get the frame as it came.
        stage: whose windows are drawn when results carry activity; None for all.
        limit: frames at most; None for all.
        on_result: told each result and the frames done.

    Raises:
        SourceError, FrameError, BackendError, SinkError, MissingDependencyError: from the parts.
    """
    pictures = any(sink.needs_image for sink in sinks)
    inference_ms: list[float] = []
    dropped, share, interrupted = 0, 1.0, False
    start = time.perf_counter()
    try:
        for result in stream:
            image = None
            if pictures:
                image = draw_result(result.image, result, stage=stage) if draw else result.image
            for sink in sinks:
                sink.write(result, image)
            inference_ms.append(result.timings.inference_ms)
            dropped, share = result.dropped, result.window_share
            on_result(result, len(inference_ms))
            if limit is not None and len(inference_ms) >= limit:
                break
    except StopStream:
        pass
    except KeyboardInterrupt:
        if not stream.source.live:
            raise
        interrupted = True
    seconds = time.perf_counter() - start
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
