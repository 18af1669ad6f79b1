"""Where the command writes: answers to stdout, progress and errors to stderr.

Whatever is written passes `sparsevit_runtime.texts`: names come from model cards, data and file names, which are not
to do anything to a terminal, nor to be read as rich's markup.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.logging import RichHandler
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from sparsevit_runtime.texts import printable, printable_json

if TYPE_CHECKING:
    from sparsevit_runtime import Counts

#: Width of tables that go to a file or a pipe, where there is no terminal to ask.
_PIPE_COLUMNS = 120
#: Seconds after which it is told how long a piece of work will still take.
_ESTIMATE_S = 5.0

#: Packages whose log -v shows.
_PACKAGES = ("sparsevit_runtime", "sparsevit_street", "sparsevit_exporter", "sparsevit_training", "sparsevit_apps")
_QUIET = -1

_verbosity = 0
_log_handler: logging.Handler | None = None


def set_verbosity(level: int) -> None:
    """How much is told on stderr: -1 errors alone, 0 warnings and progress, 1 what is done, 2 all there is.

    Holds for the process until it is set again.
    """
    global _verbosity, _log_handler
    _verbosity = level
    for name in _PACKAGES:
        logging.getLogger(name).setLevel(
            {-1: logging.ERROR, 0: logging.NOTSET, 1: logging.INFO}.get(level, logging.DEBUG)
        )
    if _log_handler is not None:
        logging.getLogger().removeHandler(_log_handler)
        _log_handler = None
    if level:
        _log_handler = _handler(stderr())
        logging.getLogger().addHandler(_log_handler)


def verbosity() -> int:
    """See `set_verbosity`."""
    return _verbosity


def is_quiet() -> bool:
    """Whether nothing but errors and answers that were asked for is to be told."""
    return _verbosity == _QUIET


def stdout() -> Console:
    """A console on the current stdout."""
    return _console(sys.stdout)


def stderr() -> Console:
    """A console on the current stderr."""
    return _console(sys.stderr)


class _Console(Console):
    """A console that shows texts as they are: styles are those of `Text` objects, and nothing in a text is one."""

    def __init__(self, stream: TextIO) -> None:
        width = None if stream.isatty() else _PIPE_COLUMNS
        super().__init__(file=stream, width=width, highlight=False, markup=False, emoji=False)

    def print(self, *objects: Any, **how: Any) -> None:
        """Tables that the width has no room for come as a list of their rows."""
        super().print(*(as_list(each) if self._too_wide(each) else each for each in objects), **how)

    def _too_wide(self, renderable: Any) -> bool:
        if not isinstance(renderable, Table) or not renderable.show_header:
            return False
        return Measurement.get(self, self.options.update(max_width=10_000), renderable).minimum > self.width

    def render_str(self, text: str, **how: Any) -> Text:
        """Strings are measured and laid out as what is shown of them."""
        return super().render_str(printable(text, keep="\n"), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything comes by here, also what is in `Text` objects."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text, keep="\n"), segment.style)


def _console(stream: TextIO) -> Console:
    return _Console(stream)


def say(message: str, *, err: bool = False) -> None:
    """A line on stdout or stderr, never wrapped."""
    typer.echo(printable(message, keep="\n"), err=err)


def say_json(document: str) -> None:
    """A JSON document on stdout, which says what it said."""
    typer.echo(printable_json(document))


def print_error(message: str) -> None:
    """One line on stderr, however long; whoever reads it by machine finds it after ``error: ``."""
    line = Text.assemble(("error: ", "bold red"), printable(" ".join(message.split())))
    stderr().print(line, soft_wrap=True)


class ProgressBar:
    """`sparsevit_runtime.progress.Progress` as a line: the piece of work at hand, its count, times and note."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._id = bar.add_task("", start=False, total=None, visible=False, begun=0.0, note="")

    def start(self, title: str, total: float | None = None) -> None:
        """See `Progress.start`. The time shown goes on from piece to piece."""
        (task,) = self._bar.tasks
        task.total = total  # `update` cannot take it back
        self._bar.start_task(self._id)
        begun = self._bar.get_time()
        with suppress(OSError):
            self._bar.update(self._id, description=title, completed=0, visible=True, begun=begun, note="", refresh=True)

    def advance(self, done: float | None = None, note: str = "") -> None:
        """See `Progress.advance`."""
        if done is None:
            self._bar.update(self._id, advance=1, note=note)
        else:
            self._bar.update(self._id, completed=done, note=note)


class _Count(MofNCompleteColumn):
    """``12/60``; the count alone where there is no number to reach."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(f"{task.completed:.0f}" if task.completed else "", style="progress.download")
        return super().render(task)


class _Left(ProgressColumn):
    """The time that the piece of work at hand will still take, once it takes a while."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        taken = task.get_time() - task.fields["begun"]
        if not task.total or not task.completed or taken < _ESTIMATE_S:
            return Text()
        left = taken * max(0.0, task.total - task.completed) / task.completed
        return Text(f"{timedelta(seconds=round(left))} left", style="progress.remaining")


@contextmanager
def progress_bar() -> Iterator[ProgressBar]:
    """A bar on stderr; silent where stderr is no terminal."""
    console = stderr()
    columns: Sequence[ProgressColumn] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        _Count(),
        TimeElapsedColumn(),
        _Left(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # A few refreshes a second: drawing the bar takes CPU time from the model.
    bar = Progress(
        *columns, console=console, refresh_per_second=4, disable=is_quiet() or not console.is_terminal, transient=True
    )
    with _warnings_on(console):
        try:
            with suppress(OSError):
                bar.start()
            yield ProgressBar(bar)
        finally:
            with suppress(OSError):  # a terminal that was closed costs nothing but the bar
                bar.stop()


@contextmanager
def _warnings_on(console: Console) -> Iterator[None]:
    """Sends the library's warnings to a console, so that they do not tear what is drawn there."""
    if _log_handler is not None:
        yield  # there is one already, on the same stream
        return
    handler = _handler(console)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _handler(console: Console) -> logging.Handler:
    level = {-1: logging.ERROR, 0: logging.WARNING}.get(_verbosity, logging.DEBUG)
    handler = RichHandler(console=console, level=level, show_time=False, show_path=False)
    handler.setFormatter(_OneLine("%(message)s"))
    return handler


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def make_warnings_printable() -> None:
    """For warnings of the library where no bar is drawn: Python writes them to stderr by itself."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_OneLine())


def facts(rows: Sequence[tuple[str, str]], title: str | None = None) -> Table:
    """A two-column table without lines: names and values."""
    table = Table(title=title, box=None, show_header=False, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(printable(value, keep="\n")))
    return table


def say_counts(counts: Sequence[Counts]) -> list[str]:
    """A line for each place where objects were counted: ``gate: in 3 (2 car, 1 pedestrian), out 0``."""

    def say(what: str, of_class: Mapping[str, int]) -> str:
        names = ", ".join(f"{count} {name}" for name, count in sorted(of_class.items()))
        return f"{what} {sum(of_class.values())}" + (f" ({names})" if names else "")

    return [
        f"{each.name}: "
        + ", ".join(say(what, of_class) for what, of_class in each.to_dict().items() if isinstance(of_class, dict))
        for each in counts
    ]


def as_list(table: Table) -> Group:
    """A table's rows below each other: the first cell as a title, the others as name and value."""
    parts: list[RenderableType] = [Text(str(table.title), style="bold")] if table.title else []
    first, *others = table.columns
    rows = zip(first.cells, *(column.cells for column in others), strict=True)
    for title, *values in rows:
        block = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 2))
        block.add_column(style="dim")
        block.add_column(overflow="fold")
        for column, value in zip(others, values, strict=True):
            block.add_row(column.header, value)
        parts += [Text(printable(f"{first.header} {title}", keep="\n")), block]
    if table.caption:
        parts.append(Text(str(table.caption), style="dim"))
    return Group(*parts)


def file_size(size: int) -> str:
    """Bytes for people: ``7.9 MB``."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
