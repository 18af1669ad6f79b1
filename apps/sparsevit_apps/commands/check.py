"""`sparsevit check`: does this machine compute what it should?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from sparsevit_runtime import Model
    from sparsevit_runtime.diagnostics import CheckReport, ComparisonReport
    from sparsevit_runtime.tensorrt import EngineCard


def check(
    model: options.Model = options.DEFAULT_MODEL,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Compare all of every output with this .onnx file in ONNX Runtime on the CPU. An engine is "
            "compared with the file it was built from, where that lies beside it.",
        ),
    ] = None,
    backend: options.Backend = "auto",
    device: options.Device = None,
    threads: options.Threads = None,
    json: options.JsonFlag = False,
) -> None:
    """Compare the model's outputs on this machine with those recorded at export, or with another file's.

    Exit code 1 when they differ.
    """
    from sparsevit_runtime import load
    from sparsevit_runtime.diagnostics.probes import engine_card
    from sparsevit_runtime.model import find_model

    from ..console import say

    path = find_model(model)
    with load(path, backend, threads=threads, device=device) as loaded:
        engine = engine_card(loaded.backend)
        other = _other_file(path, engine, against)
        if other is None and loaded.backend.path != path:
            say(f"{path.stem} computes in half precision here: comparing with its own file", err=True)
            other = path
        if "custom ops" in loaded.backend.details:
            say(f"run by custom ops: {loaded.backend.details['custom ops']}", err=True)
        if other is None:
            _check_recorded(loaded, json)
        else:
            _check_against(path, loaded, engine is not None, other, json)


def _other_file(path: Path, engine: EngineCard | None, against: str | None) -> Path | None:
    """What to compare with: the file named, or the one an engine was built from; None for the recorded outputs."""
    from sparsevit_runtime.diagnostics.comparing import find_source
    from sparsevit_runtime.model import find_model

    from ..console import say

    if against is not None:
        return find_model(against)
    if engine is None:
        return None
    source = path if path.suffix == ".onnx" else find_source(path, engine)
    if source is None:
        say(
            f"the .onnx file that {path.name} was built from is not beside it: comparing samples recorded at export; "
            "--against FILE compares everything",
            err=True,
        )
    else:
        say(f"comparing with {source}, which {path.name} was built from", err=True)
    return source


def _check_recorded(model: Model, json: bool) -> None:
    from sparsevit_runtime import diagnostics

    from ..console import print_error, progress_bar, say, say_json, stdout

    with progress_bar() as progress:
        report = diagnostics.check(model, progress)
    if json:
        say_json(report.model_dump_json(indent=2))
    else:
        stdout().print(_recorded_table(report))
    worst = report.worst
    if not report.agrees:
        print_error(
            f"{report.model} does not compute here what was recorded: {worst.output} of run {worst.run} is the worst, "
            f"{worst.problem}. Copy the file again, or try another backend or device"
        )
        raise typer.Exit(1)
    if not json:
        say(
            f"{report.model} agrees on {report.library} ({report.device}); the least agreement is "
            f"{worst.agreement:.1%}, {worst.output} of run {worst.run}"
        )


def _check_against(path: Path, model: Model, is_engine: bool, other: Path, json: bool) -> None:
    from sparsevit_runtime import diagnostics

    from ..console import print_error, progress_bar, say, say_json, stdout

    with progress_bar() as progress:
        report = diagnostics.compare(model, other, file=path.name, progress=progress)
    if json:
        say_json(report.model_dump_json(indent=2))
    else:
        stdout().print(_comparison_table(report))
    worst = report.worst
    where = f"{report.library} ({report.device})"
    if not report.agrees:
        advice = (
            "Build the engine again; if it still differs, with --portable, which leaves the plugins out"
            if is_engine
            else "Try another device or number of threads, or copy the file again"
        )
        print_error(
            f"{report.model} on {where} does not compute what {report.against} does: {worst.tensor} is the worst, "
            f"{worst.problem} ({worst.run}). {advice}"
        )
        raise typer.Exit(1)
    if not json:
        say(
            f"{report.model} on {where} computes what {report.against} does; the worst is {worst.tensor}, at "
            f"{worst.of_limit:.1%} of what is accepted ({worst.run})"
        )


def _recorded_table(report: CheckReport) -> Table:
    from rich.table import Table

    table = Table(title=f"{report.model}: recorded outputs against this machine", title_justify="left")
    for column in ("run", "windows kept"):
        table.add_column(column)
    table.add_column("output")
    for column in ("values", "agree", "must", "largest difference"):
        table.add_column(column, justify="right")
    table.add_column("")
    for entry in report.outputs:
        table.add_row(
            str(entry.run),
            "fixed plan" if entry.keep is None else " ".join(map(str, entry.keep)),
            entry.output,
            str(entry.values),
            f"{entry.agreement:.1%}",
            f"{entry.required:.1%}",
            "-" if entry.difference is None else f"{entry.difference:.3g}",
            _verdict(entry.agrees),
        )
    return table


def _comparison_table(report: ComparisonReport) -> Table:
    from rich.table import Table

    title = (
        f"{report.model}, {report.library} ({report.device}), against {report.against}, {report.against_library} "
        f"({report.against_device}); limits of {report.precision}"
    )
    table = Table(title=title, title_justify="left")
    for column in ("tensor", "worst run"):
        table.add_column(column)
    for column in ("values", "difference", "cosine", "agree", "must"):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in report.tensors:
        table.add_row(
            row.tensor,
            row.run,
            str(row.values),
            "-" if row.difference is None else f"{row.difference:.2e}",
            "-" if row.cosine is None else f"{row.cosine:.6f}",
            "-" if row.agreement is None else f"{row.agreement:.2%}",
            row.required,
            _verdict(row.agrees),
        )
    return table


def _verdict(agrees: bool) -> Text:
    from rich.text import Text

    return Text("agrees", "green") if agrees else Text("differs", "bold red")
