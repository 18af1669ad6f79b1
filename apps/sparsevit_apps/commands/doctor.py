"""`sparsevit doctor`: what is here, what is missing, what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .. import options

if TYPE_CHECKING:
    from rich.table import Table

    from ..doctor.findings import DoctorReport

_STYLES = {"ok": "green", "warn": "yellow", "missing": "dim"}


def doctor(
    json: options.JsonFlag = False,
    jetson: Annotated[
        bool, typer.Option("--jetson", help="What the first hour on a Jetson needs instead (docs/jetson.md).")
    ] = False,
) -> None:
    """Look at this machine: libraries, GPU, cameras, display, extras, and the next step for what is missing.

    Exit code 1 when something is missing without which nothing runs; with --jetson, no engine with our kernels.
    """
    from ..console import print_error, say_json, stdout
    from ..doctor.jetson import examine_jetson
    from ..doctor.probes import examine

    report = examine_jetson() if jetson else examine()
    if json:
        say_json(report.model_dump_json(indent=2))
    else:
        stdout().print(_table(report))
    if not report.healthy:
        absent = [f.name for f in report.findings if f.required and f.status == "missing"]
        what = "engines with plugins" if jetson else "models"
        print_error(f"{what} cannot run on this machine without {', '.join(absent)}; see the advice beside it")
        raise typer.Exit(1)


def _table(report: DoctorReport) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    area = ""
    for finding in report.findings:
        urgent = finding.required and finding.status == "missing"
        text = Text(finding.value)
        if finding.advice:
            text.append(f"\n{finding.advice}", style="bold red" if urgent else "cyan")
        status = Text(finding.status, style="bold red" if urgent else _STYLES[finding.status])
        table.add_row("" if finding.area == area else finding.area, finding.name, status, text)
        area = finding.area
    return table
