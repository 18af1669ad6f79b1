"""`sparsevit check`: does this machine compute what the exporting one did?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from .. import options

if TYPE_CHECKING:
    from rich.table import Table

    from ..checking import CheckReport


def check(
    model: options.Model = options.DEFAULT_MODEL,
    backend: options.Backend = "auto",
    device: options.Device = None,
    threads: options.Threads = None,
    json: options.JsonFlag = False,
) -> None:
    """Compare the model's outputs on this machine with those recorded at export. Exit code 1 when they differ."""
    from sparsevit_runtime import load

    from ..checking import check_model
    from ..console import print_error, progress_bar, stdout

    with load(model, backend, threads=threads, device=device) as loaded, progress_bar() as bar:
        task = bar.add_task("checking", total=None)
        report = check_model(loaded.backend, lambda done, total: bar.update(task, completed=done, total=total))
    if json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        stdout().print(_table(report))
    worst = report.worst
    if not report.agrees:
        print_error(
            f"{report.model} does not compute here what was recorded: {worst.output} of run {worst.run} is the worst, "
            f"{worst.problem}. Copy the file again, or try another backend or device"
        )
        raise typer.Exit(1)
    if not json:
        typer.echo(
            f"{report.model} agrees on {report.library} ({report.processor}); the least agreement is "
            f"{worst.agreement:.1%}, {worst.output} of run {worst.run}"
        )


def _table(report: CheckReport) -> Table:
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
            "[green]agrees[/]" if entry.agrees else "[bold red]differs[/]",
        )
    return table
