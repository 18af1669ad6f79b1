"""`sparsevit profile`: latency at several sparsities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import options

_DEFAULT_SWEEP = "0,0.3,0.5,0.6,0.7,0.8"


def profile(
    model: options.Model = options.DEFAULT_MODEL,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Shares of windows pruned, or plan files, separated by commas. The dense run is always among them. "
            f"Default: {_DEFAULT_SWEEP}; a fixed export has its own plan only."
        ),
    ] = None,
    iterations: Annotated[int, typer.Option(min=1, help="Timed rounds; each runs every sparsity once.")] = 50,
    warm_up: Annotated[int, typer.Option(min=0, help="Rounds before, not timed.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Images per run.")] = 1,
    source: Annotated[
        str | None, typer.Option(help="Where frames come from: any source; a 1280x720 synthetic street unless given.")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the measurements, schema-versioned.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture (.png). Needs matplotlib.")] = None,
    backend: options.Backend = "auto",
    device: options.Device = None,
    threads: options.Threads = None,
) -> None:
    """Measure latency per stage, at several sparsities in one session.

    Every round runs each sparsity once, in random order, on the same frames, so the ratios hold on a busy machine too.
    """
    from sparsevit_runtime import load
    from sparsevit_runtime.dependencies import require
    from sparsevit_runtime.files import write_whole
    from sparsevit_runtime.sinks.paths import check_target

    from ..console import progress_bar, stderr, stdout
    from ..profiling.measure import DEFAULT_SOURCE, profile_model
    from ..profiling.plot import plot_profile
    from ..profiling.view import profile_view

    for path in (json_path, plot):
        if path is not None:
            check_target(path)
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise typer.BadParameter(f"{str(plot)!r}: the picture is a .png file", param_hint="--plot")
        require("matplotlib")
    with load(model, backend, threads=threads, device=device) as loaded:
        fixed = loaded.card.windows.fixed is not None
        entries = None if fixed and sweep is None else options.parse_sweep(sweep or _DEFAULT_SWEEP)
        with progress_bar() as bar:
            task = bar.add_task("measuring", total=None)
            report = profile_model(
                loaded,
                model,
                entries,
                iterations=iterations,
                warm_up=warm_up,
                batch=batch,
                source=source or DEFAULT_SOURCE,
                on_round=lambda done, total: bar.update(task, completed=done, total=total),
            )
    out = stdout()
    for part in profile_view(report):
        out.print(part)
    if json_path is not None:
        write_whole(json_path, (report.model_dump_json(indent=2) + "\n").encode())
        stderr().print(f"wrote {json_path}", markup=False)
    if plot is not None:
        write_whole(plot, plot_profile(report))
        stderr().print(f"wrote {plot}", markup=False)
