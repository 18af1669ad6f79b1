"""`sparsevit run`: frames in, annotated frames and results out."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options

if TYPE_CHECKING:
    from sparsevit_runtime import Model, Result, Sink, Source

    from ..running import RunSummary

#: Seconds between updates of the progress bar.
_UPDATE_S = 0.25


def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Camera index, /dev/videoN, csi://N, rtsp://..., a video, an image, a folder, a glob, "
            "synthetic://street or sample://.",
        ),
    ],
    sinks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SINK",
            help="out.mp4, out.avi, a folder, out.jsonl, display:// or null://; several may be given. "
            "display:// unless given.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="An exported .onnx file, or the name of a bundled model.")
    ] = options.DEFAULT_MODEL,
    sparsity: Annotated[str | None, typer.Option("--sparsity", "-s", help=options.SPARSITY_HELP)] = None,
    activity: Annotated[bool, typer.Option("--activity", help="Draw which windows were computed.")] = False,
    stage: Annotated[
        int | None, typer.Option("--stage", min=0, help="With --activity: the windows of this stage, not of all.")
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, max=1.0, help="Least score of a detection.")
    ] = 0.25,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="Stop after this many frames.")] = None,
    draw: Annotated[
        bool, typer.Option("--draw/--no-draw", help="Annotate the frames, or pass them as they are.")
    ] = True,
    backend: options.Backend = "auto",
    device: options.Device = None,
    threads: options.Threads = None,
) -> None:
    """Run a model on a camera, a stream or files.

    Ctrl-C ends a camera or network stream and completes the outputs; on a file it leaves no output behind. A live
    source drops the frames that come while the model is busy, and says how many.
    """
    from sparsevit_runtime import load
    from sparsevit_runtime.errors import PlanError
    from sparsevit_runtime.live.driver import close_promptly
    from sparsevit_runtime.live.feeds import open_feed

    from ..console import progress_bar
    from ..running import open_sinks, playback_fps, run_model

    with ExitStack() as opened:
        feed = open_feed(source)
        opened.callback(close_promptly, feed)
        loaded = opened.enter_context(load(model, backend, threads=threads, device=device))
        stages = len(loaded.card.stages)
        if stage is not None and stage >= stages:
            raise PlanError(f"there is no stage {stage}; {loaded.card.name} has the stages 0 to {stages - 1}")
        sparsity = options.parse_sparsity(sparsity)
        warm_ms = _warm_up(loaded, sparsity, activity)
        rate = playback_fps(feed, warm_ms)
        targets = open_sinks(sinks or ["display://"], opened, feed, rate)
        progress = opened.enter_context(progress_bar())
        progress.start(_short(feed.name), min((n for n in (frames, feed.frame_count) if n is not None), default=None))
        updated = start = time.monotonic()

        def show(result: Result, done: int) -> None:
            nonlocal updated
            now = time.monotonic()
            if now - updated >= _UPDATE_S:
                updated = now
                note = f"{done / (now - start):.1f} fps, {result.timings.inference_ms:.0f} ms"
                note += f", {result.dropped} dropped" if feed.live else ""
                progress.advance(done, note)

        summary = run_model(
            loaded,
            feed,
            targets,
            sparsity,
            activity=activity or stage is not None,
            threshold=threshold,
            draw=draw,
            stage=stage,
            limit=frames,
            on_result=show,
        )
    _print_summary(loaded, feed, targets, summary)
    if summary.interrupted:
        raise KeyboardInterrupt


def _short(name: str, length: int = 24) -> str:
    """The end of a source's name, which tells most: a path's file."""
    return name if len(name) <= length else f"...{name[-length:]}"


def _warm_up(model: Model, sparsity: str | None, activity: bool) -> float:
    """Runs twice as the stream will, and returns the second run's inference time in milliseconds."""
    from sparsevit_runtime import probe_image

    probe = probe_image(*model.input_hw, seed=0)
    for _ in range(2):
        result = model(probe, sparsity, activity=activity)
    return result.timings.inference_ms


def _print_summary(model: Model, source: Source, sinks: list[Sink], summary: RunSummary) -> None:
    import numpy as np

    from ..console import facts, file_size, stdout
    from ..running import written_files

    rows = [
        ("source", source.name),
        ("model", f"{model.card.name}, {model.task}"),
        ("windows", f"{summary.window_share:.0%} computed"),
        ("frames", f"{summary.frames} in {summary.seconds:.1f} s, {summary.fps:.1f} frames/s end to end"),
    ]
    if summary.frames:
        p50, p95 = np.percentile(summary.inference_ms, (50, 95))
        rows.append(("inference", f"p50 {p50:.1f} ms, p95 {p95:.1f} ms"))
    if source.live:
        rows.append(("dropped", f"{summary.dropped} frames came while the model was busy"))
    rows += [("wrote", f"{name} ({file_size(size)})") for name, size in written_files(sinks)]
    stdout().print(facts(rows))
