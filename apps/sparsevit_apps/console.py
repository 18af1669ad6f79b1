"""Where the command writes: answers to stdout, progress and errors to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
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


@contextmanager
def progress_bar(*fields: str) -> Iterator[Progress]:
    """A bar on stderr; silent where stderr is no terminal.

    Args:
        fields: rich text templates shown behind the count, e.g. ``{task.fields[fps]}``.
    """
    console = stderr()
    columns: Sequence[ProgressColumn] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *(TextColumn(field) for field in fields),
    )
    # A few refreshes a second: drawing the bar takes the processor from the model.
    bar = Progress(*columns, console=console, refresh_per_second=4, disable=not console.is_terminal, transient=True)
    with _warnings_on(console), bar:
        yield bar


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done, for work of unknown length.

    Yields:
        A function that changes the line.
    """
    console = stderr()
    with _warnings_on(console), console.status(escape(text)) as status:
        yield lambda step: status.update(escape(step))


@contextmanager
def _warnings_on(console: Console) -> Iterator[None]:
    """Sends the library's warnings to a console, so that they do not tear what is drawn there."""
    handler = RichHandler(console=console, level=logging.WARNING, show_time=False, show_path=False)
    handler.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


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
