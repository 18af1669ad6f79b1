"""Where the command writes: answers to stdout, progress and errors to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

#: Width of tables that go to a file or a pipe, where there is no terminal to ask.
_PIPE_COLUMNS = 120


def stdout() -> Console:
    """A console on the current stdout."""
    return _console(sys.stdout)


def stderr() -> Console:
    """A console on the current stderr."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    return Console(file=stream, width=None if stream.isatty() else _PIPE_COLUMNS, highlight=False)


def print_error(message: str) -> None:
    """One line on stderr, however long; whoever reads it by machine finds it after ``error: ``."""
    line = Text.assemble(("error: ", "bold red"), " ".join(message.split()))
    stderr().print(line, soft_wrap=True)


def log_to(console: Console) -> None:
    """Sends the library's warnings to a console, so that they do not tear a progress bar drawn there."""
    handler = RichHandler(console=console, show_time=False, show_path=False, markup=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)


def progress_bar(*fields: str) -> Progress:
    """A bar on stderr; silent where stderr is no terminal.

    Args:
        fields: rich text templates shown behind the count, e.g. ``{task.fields[fps]}``.
    """
    console = stderr()
    log_to(console)
    columns: Sequence[ProgressColumn] = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *(TextColumn(field) for field in fields),
    )
    # A few refreshes a second: drawing the bar takes the processor from the model.
    return Progress(*columns, console=console, refresh_per_second=4, disable=not console.is_terminal, transient=True)


def facts(rows: Sequence[tuple[str, str]], title: str | None = None) -> Table:
    """A two-column table without lines: names and values."""
    table = Table(title=title, box=None, show_header=False, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def file_size(size: int) -> str:
    """Bytes for people: ``7.9 MB``."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
