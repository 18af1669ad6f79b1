"""`sparsevit batch`: an archive of images and videos into a Parquet data set."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options

if TYPE_CHECKING:
    from sparsevit_runtime.batch import Engine, Report
    from sparsevit_runtime.progress import Progress

#: CPU cores of a worker, unless its number or its threads are given.
_CORES_EACH = 4
#: Seconds between lines that say how far the job is, where no bar is drawn.
_LINE_EVERY_S = 30.0
#: Inputs that are named one by one.
_NAMED = 5
_WORKERS = "Workers"


class Engines(str, Enum):
    auto = "auto"
    processes = "processes"
    ray = "ray"


def batch(
    inputs: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A folder, a glob, an image, a video, or a list of URIs (.txt, .parquet); also s3://..., gs://... and "
            "whatever else pyarrow or fsspec reads.",
        ),
    ],
    out: Annotated[
        str,
        typer.Argument(metavar="OUT", help="Folder of the Parquet data set; one that was begun is gone on with."),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="An exported .onnx file, the name of a bundled model, or triton://host:port/name."
        ),
    ] = options.DEFAULT_MODEL,
    sparsity: Annotated[str | None, typer.Option("--sparsity", "-s", help=options.SPARSITY_HELP)] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0.0, max=1.0, help="Least score of a detection.  [default: the card's, else 0.25]"
        ),
    ] = None,
    coco: Annotated[
        bool, typer.Option("--coco", help="Write one COCO JSON document, OUT/_coco.json, as well.")
    ] = False,
    segment_frames: Annotated[
        int,
        typer.Option(
            "--segment-frames", min=1, metavar="N", help="Cut videos into parts of about so many frames, at key frames."
        ),
    ] = 300,
    frames_at_once: Annotated[
        int | None,
        typer.Option(
            "--batch", min=1, metavar="N", help="Frames of a run; 1 on a CPU and 8 on a GPU unless given, if they fit."
        ),
    ] = None,
    engine: Annotated[
        Engines,
        typer.Option(
            help="processes of this machine, or ray; auto takes Ray where a cluster is named.", rich_help_panel=_WORKERS
        ),
    ] = Engines.auto,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            metavar="N",
            help="Workers, each with a model of its own. Unless given one for four cores of this machine, or as many "
            "as the Ray cluster has room for.",
            rich_help_panel=_WORKERS,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="HOST:PORT",
            help="The Ray cluster; $RAY_ADDRESS unless given, else one on this machine.",
            rich_help_panel=_WORKERS,
        ),
    ] = None,
    cpus: Annotated[
        float, typer.Option("--cpus", min=0.1, help="CPU cores of a Ray worker.", rich_help_panel=_WORKERS)
    ] = 1.0,
    gpus: Annotated[
        float,
        typer.Option("--gpus", min=0.0, help="GPUs of a Ray worker; 0.5 lets two share one.", rich_help_panel=_WORKERS),
    ] = 0.0,
    backend: options.Backend = "auto",
    device: options.Device = None,
    threads: options.Threads = None,
) -> None:
    """Run a model over an archive, on all cores of this machine or on a Ray cluster, into a Parquet data set.

    One row a frame, the same that `sparsevit run` says of it. Long videos are cut at key frames, so that one video uses
    all workers. Killed at any point and started again with the same arguments the job goes on: finished parts are not
    run again. Inputs that cannot be read are listed in OUT/_report.json with the reason, and cost themselves alone.

    The exit code is 0 where all that can be read is done, and 1 where parts failed that may be tried again.
    """
    from sparsevit_runtime.batch import Work, run_batch
    from sparsevit_runtime.windows.plan import PlanLike

    chosen, share = _engine(engine, workers, address, cpus, gpus, threads)
    plan: PlanLike | None = sparsity
    work = Work(
        model,
        sparsity=plan,
        threshold=threshold,
        backend=backend,
        device=device,
        threads=threads or share,
        batch=frames_at_once,
    )
    start = time.monotonic()
    with _progress() as progress:
        report = run_batch(inputs, out, work, chosen, coco=coco, segment_frames=segment_frames, progress=progress)
    _print_report(report, time.monotonic() - start, coco)
    if report.failed:
        from ..console import print_error

        first = report.failed[0]
        print_error(
            f"{len(report.failed)} of {report.segments} parts failed, the first is {first.source}: {first.reason}. All "
            f"are in {report.out}/_report.json; the same command tries them again"
        )
        raise typer.Exit(1)


def _engine(
    engine: Engines, workers: int | None, address: str | None, cpus: float, gpus: float, threads: int | None
) -> tuple[Engine, int | None]:
    """Who runs the job, and threads of each worker."""
    from sparsevit_runtime.batch import Processes, RayCluster

    on_ray = engine is Engines.ray or (engine is Engines.auto and bool(address or os.environ.get("RAY_ADDRESS")))
    if on_ray:
        return RayCluster(workers, cpus, gpus, address), max(1, int(cpus))
    if address is not None:
        raise typer.BadParameter("processes of this machine have no cluster; leave it out", param_hint="--ray-address")
    cores = len(os.sched_getaffinity(0))
    number = workers or max(1, cores // (threads or _CORES_EACH))
    return Processes(number), max(1, cores // number) if number > 1 else None


class _Lines:
    """Progress as lines on stderr, now and then: for logs, where no bar is drawn."""

    def __init__(self) -> None:
        self._title = ""
        self._total: float | None = None
        self._begun = self._told = time.monotonic()

    def start(self, title: str, total: float | None = None) -> None:
        self._title, self._total = title, total
        self._begun = self._told = time.monotonic()

    def advance(self, done: float | None = None, note: str = "") -> None:
        from ..console import say

        now = time.monotonic()
        if done is None or not done or now - self._told < _LINE_EVERY_S:
            return
        self._told = now
        rate = done / (now - self._begun)
        said = (
            f"{self._title}: {done:.0f}" + (f" of {self._total:.0f}" if self._total else "") + f", {rate:.1f} a second"
        )
        if self._total:
            said += f", {timedelta(seconds=round(max(0.0, self._total - done) / rate))} left"
        say(said + (f", {note}" if note else ""), err=True)


@contextmanager
def _progress() -> Iterator[Progress]:
    from ..console import is_quiet, progress_bar, stderr

    if is_quiet() or stderr().is_terminal:
        with progress_bar() as bar:
            yield bar
    else:
        yield _Lines()


def _print_report(report: Report, seconds: float, coco: bool) -> None:
    from ..console import facts, is_quiet, stdout

    if is_quiet():
        return
    rows = [
        ("results", f"{report.out}, {report.frames} frames of {report.sources} inputs"),
        ("parts", f"{report.segments}" + (f", {report.finished} were finished before" if report.finished else "")),
        ("time", f"{seconds:.1f} s"),
    ]
    if report.broken:
        told = "; ".join(f"{each.source}: {each.reason}" for each in report.broken[:_NAMED])
        more = f"; {len(report.broken) - _NAMED} more" if len(report.broken) > _NAMED else ""
        rows.append((f"broken ({len(report.broken)})", told + more))
    rows.append(("report", f"{report.out}/_report.json" + (f", {report.out}/_coco.json" if coco else "")))
    stdout().print(facts(rows))
