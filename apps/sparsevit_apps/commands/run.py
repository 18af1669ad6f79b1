"""`sparsevit run`: frames in, annotated frames and results out."""

from __future__ import annotations

import time
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .. import options

if TYPE_CHECKING:
    from sparsevit_runtime import Model, Reconnect, Result, Sink, Source
    from sparsevit_runtime.live.governor import Governor, Target

    from ..console import ProgressBar
    from ..running import RunSummary

#: Seconds between updates of the progress bar.
_UPDATE_S = 0.25


def run(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE [SINK]...",
            help="Camera index, /dev/videoN, csi://N, rtsp://..., a video, an image, a folder, a glob, "
            "synthetic://street or sample://. Behind it, unless -o names them, the sinks: out.mp4, out.avi, a folder, "
            "out.jpg, out.jsonl, - (JSON lines to stdout), http://localhost:8080 (for browsers), display:// or null://.",
        ),
    ],
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="SINK",
            help="Where results go, may be repeated; all arguments are sources then. A folder gets a file of each "
            "source's name. A window unless given, or without a screen a file beside the source.",
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
        float | None,
        typer.Option(
            "--threshold", min=0.0, max=1.0, help="Least score of a detection.  [default: the card's, else 0.25]"
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Stop after this many frames of each source.")
    ] = None,
    draw: Annotated[
        bool, typer.Option("--draw/--no-draw", help="Annotate the frames, or pass them as they are.")
    ] = True,
    overwrite: options.Overwrite = False,
    track: options.Track = False,
    count_line: options.CountLines = None,
    count_zone: options.CountZones = None,
    max_reconnect: options.MaxReconnect = None,
    timeout_ms: options.TimeoutMs = None,
    target_ms: options.TargetMs = None,
    target_fps: options.TargetFps = None,
    levels: options.Levels = None,
    max_age_ms: options.MaxAgeMs = None,
    backend: options.Backend = "auto",
    device: options.Device = None,
    threads: options.Threads = None,
) -> None:
    """Run a model on a camera, a stream or files. Several cameras run together, files one after the other.

    Ctrl-C ends a run and completes the outputs, as SIGTERM and SIGHUP do. A live source drops the frames that come
    while the model is busy, and says how many; what came from it is kept, whatever ends the run. Long recordings go on
    in parts: out.mp4?every=10m, ?size=500MB, &keep=24 for the newest. Files that are not results of an earlier run are
    replaced only with --overwrite.
    """
    from sparsevit_runtime import load
    from sparsevit_runtime.errors import PlanError, SinkError, SourceError
    from sparsevit_runtime.sinks import is_stdout

    from ..console import print_error, progress_bar
    from ..outputs import Outputs, check_positional, default_output
    from ..running import playback_fps, warm_up
    from ..served import tell_addresses

    reconnect = options.parse_reconnect(max_reconnect, timeout_ms)
    target = options.parse_target(target_ms, target_fps, sparsity, levels)
    tracking = options.parse_tracking(track, count_line, count_zone)
    sources, places = (inputs, outputs) if outputs else (inputs[:1], inputs[1:])
    check_positional(sources[0], () if outputs else places, overwrite)
    with ExitStack() as opened:
        # Before the model: what is not there is told at once.
        feeds = [_open(sources[0], opened, reconnect)] if len(sources) == 1 else _cameras(sources, opened, reconnect)
        places = places or [default_output(feeds[0])]
        loaded = opened.enter_context(load(model, backend, threads=threads, device=device))
        stages = len(loaded.card.stages)
        if stage is not None and stage >= stages:
            raise PlanError(f"there is no stage {stage}; {loaded.card.name} has the stages 0 to {stages - 1}")
        with progress_bar() as progress:
            governor = None if target is None else _govern(loaded, target, levels, activity, progress)
        rate = partial(playback_fps, inference_ms=warm_up(loaded, sparsity, activity))
        targets = opened.enter_context(
            Outputs(places, len(sources), named=bool(outputs), overwrite=overwrite, limit=frames)
        )
        run_feeds = partial(
            _run_feeds,
            loaded,
            sparsity=sparsity,
            activity=activity or stage is not None,
            threshold=threshold,
            draw=draw,
            stage=stage,
            limit=frames,
            governor=governor,
            max_age_ms=max_age_ms,
            track=tracking,
        )
        runs: list[_Run] = []
        if feeds:
            with ExitStack() as own, progress_bar() as progress:
                pairs = [(feed, targets.open(feed, own, rate(feed))) for feed in feeds]
                tell_addresses(list(dict.fromkeys(sink for _, sinks in pairs for sink in sinks)))
                runs += run_feeds(pairs, progress)
        failed = 0
        for source in () if feeds else sources:
            try:
                with ExitStack() as own:
                    feed = _open(source, own, reconnect)
                    if feed.live:
                        raise SourceError(
                            f"{feed.name} has no end, so what comes after it would never run; run cameras by themselves"
                        )
                    try:
                        sinks = targets.open(feed, own, rate(feed))
                    except SinkError as error:
                        raise SourceError(str(error)) from error
                    if not runs and not failed:
                        tell_addresses(sinks)
                    with progress_bar() as progress:
                        runs += run_feeds([(feed, sinks)], progress)
            except SourceError as error:  # it costs itself alone
                failed += 1
                print_error(f"{source}: {error}")
                continue
            if runs[-1].summary.interrupted:
                break
    stop = runs[-1].summary.stop if runs else None
    with nullcontext() if stop is None else suppress(OSError):  # the terminal that was closed
        for done in runs:
            _print_summary(loaded, done, to_stderr=any(map(is_stdout, places)))
    if stop is not None:
        raise stop
    if failed:
        raise typer.Exit(1)


class _Run(NamedTuple):
    """A source that was run: its sinks are closed when it is told."""

    source: Source
    sinks: list[Sink]
    summary: RunSummary


def _open(source: str, stack: ExitStack, reconnect: Reconnect) -> Source:
    from sparsevit_runtime.live.driver import close_promptly
    from sparsevit_runtime.live.feeds import open_feed

    feed = open_feed(source, reconnect)
    stack.callback(close_promptly, feed)
    return feed


def _cameras(sources: list[str], stack: ExitStack, reconnect: Reconnect) -> list[Source]:
    """Opens several live sources; nothing where the first is a file, or cannot be opened.

    Raises:
        SourceError: one of the others cannot be opened, is a file, or is the same.
    """
    from sparsevit_runtime.errors import SourceError

    feeds: dict[str, Source] = {}
    for source in sources:
        try:
            feed = _open(source, stack, reconnect)
        except SourceError:
            if feeds:
                raise
            return []  # told when its turn comes
        if not feed.live:
            if feeds:
                raise SourceError(f"{feed.name} is a file, and cameras come before it; run files by themselves")
            return []
        if feed.name in feeds:
            raise SourceError(f"{feed.name} is given twice; name each camera once")
        feeds[feed.name] = feed
    return list(feeds.values())


def _govern(model: Model, target: Target, levels: str | None, activity: bool, progress: ProgressBar) -> Governor:
    """Measures what there is to choose among."""
    from sparsevit_runtime.live.levels import SPARSITIES, govern

    choice = SPARSITIES if levels is None else options.split_plans(levels)
    return govern(model.runner, target, choice, activity=activity, progress=progress)


def _run_feeds(model: Model, feeds: list[tuple[Source, list[Sink]]], progress: ProgressBar, **how: Any) -> list[_Run]:
    """Runs sources together, and shows how far they are."""
    from sparsevit_runtime.windows.level import say_pruned

    from ..running import run_sources

    names = ", ".join(feed.name for feed, _ in feeds)
    totals = [n for n in (how["limit"], feeds[0][0].frame_count) if n is not None]
    progress.start(_short(names), min(totals, default=None) if len(feeds) == 1 else None)
    updated = start = time.monotonic()

    def show(result: Result, done: int) -> None:
        nonlocal updated
        now = time.monotonic()
        if now - updated >= _UPDATE_S:
            updated = now
            note = f"{done / (now - start):.1f} fps, {result.timings.inference_ms:.0f} ms"
            note += f", {say_pruned(result.window_share)}" if result.level_reason else ""
            note += f", {result.dropped} dropped" if feeds[0][0].live else ""
            progress.advance(done, note)

    summaries = run_sources(model, feeds, on_result=show, **how)
    return [_Run(feed, sinks, summary) for (feed, sinks), summary in zip(feeds, summaries)]


def _short(name: str, length: int = 24) -> str:
    """The end of a source's name, which tells most: a path's file."""
    return name if len(name) <= length else f"...{name[-length:]}"


def _print_summary(model: Model, run: _Run, *, to_stderr: bool) -> None:
    import numpy as np

    from sparsevit_runtime.windows.level import say_pruned

    from ..console import facts, is_quiet, say_counts, stderr, stdout
    from ..outputs import written_files

    if is_quiet():
        return
    summary, details = run.summary, model.backend.details
    how = [details.get("library", model.backend.name), str(model.backend.device), model.card.precision]
    how += [f"{details['threads']} threads"] if details.get("threads", "").isdigit() else []
    rows = [
        ("source", run.source.name),
        ("model", f"{model.card.name}, {model.task}"),
        ("runs on", ", ".join(how)),
        ("sparsity", say_pruned(summary.window_share) + (" at the end" if summary.level_reason else "")),
        ("frames", f"{summary.frames} in {summary.seconds:.1f} s, {summary.fps:.1f} frames/s end to end"),
    ]
    if summary.frames:
        p50, p95 = np.percentile(summary.inference_ms, (50, 95))
        rows.append(("inference", f"p50 {p50:.1f} ms, p95 {p95:.1f} ms"))
    if run.source.live:
        rows.append(("dropped", f"{summary.dropped} frames came while the model was busy"))
    if summary.damaged:
        rows.append(("damaged", f"{summary.damaged} {'frame' if summary.damaged == 1 else 'frames'} did not decode"))
    if summary.level_reason:
        rows.append(("governor", summary.level_reason))
    if summary.lost:
        rows.append(("lost", summary.lost))
    if summary.reconnects:
        rows.append(("reconnects", f"{summary.reconnects}"))
    rows += [("counted", told) for told in say_counts(summary.counts)]
    for written in written_files(run.sinks):
        rows.append(("wrote", f"{written.name} ({written.about})"))
    (stderr() if to_stderr else stdout()).print(facts(rows))
