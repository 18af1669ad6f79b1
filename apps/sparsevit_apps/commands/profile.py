"""`sparsevit profile`: latency and energy at several sparsities, or of one for a long time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import options

if TYPE_CHECKING:
    from sparsevit_runtime import Model
    from sparsevit_runtime.diagnostics import ProfileReport
    from sparsevit_runtime.power import PowerMeter

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
    layers: Annotated[
        bool, typer.Option("--layers", help="Also time the parts of the network: attention, MLP, head and so on.")
    ] = False,
    energy_seconds: Annotated[
        float,
        typer.Option(
            "--energy", min=0.0, metavar="SECONDS", help="Of energy per sparsity, where there is a meter; 0 for none."
        ),
    ] = 3.0,
    soak: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Run one sparsity for this long (600, 10m, 1h) in place of the sweep, and watch latency, memory, "
            "clocks and throttling. Ctrl-C reports what was measured so far.",
        ),
    ] = None,
    sparsity: Annotated[
        str | None, typer.Option("--sparsity", "-s", help=f"For --soak. {options.SPARSITY_HELP} Dense unless given.")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the measurements, schema-versioned.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture (.png). Needs matplotlib.")] = None,
    backend: options.Backend = "auto",
    device: options.Device = None,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Measure latency per stage, and energy where there is a power meter, at several sparsities in one session.

    Every round runs each sparsity once, in random order, on the same frames, so the ratios hold on a busy machine too.
    """
    from sparsevit_runtime import load
    from sparsevit_runtime.dependencies import require
    from sparsevit_runtime.diagnostics.frames import DEFAULT_SOURCE
    from sparsevit_runtime.sinks.paths import check_target

    seconds = None if soak is None else options.parse_duration(soak)
    if seconds is not None and (sweep or layers or plot):
        raise typer.BadParameter("a soak runs one sparsity (--sparsity): leave --sweep, --layers and --plot out")
    if seconds is None and sparsity is not None:
        raise typer.BadParameter("--sparsity is for --soak; a sweep takes --sweep", param_hint="--sparsity")
    for path in (json_path, plot):
        if path is not None:
            check_target(path, overwrite)
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise typer.BadParameter(f"{str(plot)!r}: the picture is a .png file", param_hint="--plot")
        require("matplotlib")
    with load(model, backend, threads=threads, device=device) as loaded:
        common = {"warm_up": warm_up, "batch": batch, "source": source or DEFAULT_SOURCE}
        if seconds is not None:
            _soak(loaded, model, seconds, sparsity, energy_seconds > 0, common, json_path)
            return
        fixed = loaded.card.windows.fixed is not None
        entries = None if fixed and sweep is None else options.parse_sweep(sweep or _DEFAULT_SWEEP)
        report = _profile(loaded, model, entries, energy_seconds, common | {"iterations": iterations, "layers": layers})
    _show(report, json_path, plot)


def _profile(
    model: Model, file: str, entries: list[str] | None, energy_seconds: float, common: dict[str, Any]
) -> ProfileReport:
    from sparsevit_runtime import diagnostics

    from ..console import progress_bar

    with _meter_of(model, energy_seconds > 0) as (meter, why), progress_bar() as progress:
        return diagnostics.profile(
            model,
            entries,
            file=file,
            **common,
            meter=meter,
            energy_seconds=energy_seconds,
            no_meter=why,
            progress=progress,
        )


@contextmanager
def _meter_of(model: Model, wanted: bool) -> Iterator[tuple[PowerMeter | None, str]]:
    """The meter of what runs the model, and why there is none; neither where none is wanted."""
    from sparsevit_runtime.diagnostics import find_meter

    meter, why = find_meter(model) if wanted else (None, "")
    try:
        yield meter, why
    finally:
        if meter is not None:
            meter.close()


def _show(report: ProfileReport, json_path: Path | None, plot: Path | None) -> None:
    from sparsevit_runtime.files import write_atomic

    from ..console import stderr, stdout
    from ..profiling.plot import plot_profile
    from ..profiling.view import profile_view

    out = stdout()
    for part in profile_view(report):
        out.print(part)
    if json_path is not None:
        write_atomic(json_path, (report.model_dump_json(indent=2) + "\n").encode())
        stderr().print(f"wrote {json_path}", markup=False)
    if plot is not None:
        write_atomic(plot, plot_profile(report))
        stderr().print(f"wrote {plot}", markup=False)


def _soak(
    model: Model,
    file: str,
    seconds: float,
    sparsity: str | None,
    energy: bool,
    common: dict[str, Any],
    json_path: Path | None,
) -> None:
    from sparsevit_runtime.diagnostics import Soak
    from sparsevit_runtime.files import write_atomic

    from ..console import progress_bar, stderr, stdout
    from ..profiling.soak_view import soak_view

    stop: KeyboardInterrupt | None = None
    with _meter_of(model, energy) as (meter, why):
        soak = Soak(model, sparsity, file=file, **common, meter=meter, no_meter=why)
        with progress_bar() as progress:
            try:
                soak.run(seconds, progress)
            except KeyboardInterrupt as pressed:
                stop = pressed
    report = soak.report()
    if report is not None:
        out = stdout()
        for part in soak_view(report):
            out.print(part)
        if json_path is not None:
            write_atomic(json_path, (report.model_dump_json(indent=2) + "\n").encode())
            stderr().print(f"wrote {json_path}", markup=False)
    if stop is not None:
        raise stop
