"""The progress bar on a terminal of a test: what it draws, and that a pipe gets nothing."""

from __future__ import annotations

import io
import sys

import pytest
from rich.table import Table

from sparsevit_apps.console import _Console, progress_bar
from sparsevit_runtime.progress import track


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_terminal(monkeypatch) -> Terminal:
    """Within a test: between its phases pytest puts streams of its own there."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_pieces_of_work_follow_one_another_on_one_line(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with progress_bar() as progress:
        progress.start("looking")
        for _ in track(range(3), "measuring", progress):
            pass
        progress.start("searching", 40)
        progress.advance(7, "best 41.20")
        progress.start("soaking, s", 2.5)
        progress.advance(1.25)
    drawn = terminal.getvalue()
    for words in ("looking", "measuring", "0/3", "searching", "0/40", "soaking, s"):
        assert words in drawn, words
    last = drawn.rpartition("soaking, s")[2]
    assert "1/2" in last and "best" not in last


def test_what_has_no_end_is_counted(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with progress_bar() as progress:
        progress.start("/dev/video0")
        progress.advance(12, "30.1 fps")
    last = terminal.getvalue().rpartition("/dev/video0")[2]
    assert "12" in last and "12/" not in last and "30.1 fps" in last


def test_a_pipe_gets_nothing(monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with progress_bar() as progress:
        for _ in track(range(3), "measuring", progress):
            pass
    assert pipe.getvalue() == ""


@pytest.mark.parametrize(("columns", "boxed"), [(120, True), (40, False), (20, False)])
def test_a_table_without_room_is_a_list_of_its_rows(columns, boxed):
    table = Table(title="Inference, ms", caption="of one frame")
    for name in ("pruned", "mean", "median of all", "p95", "p99"):
        table.add_column(name, justify="right")
    table.add_row("dense", "398.33", "221.12", "514.78", "514.99")
    table.add_row("50%", "234.18", "138.84", "296.98", "299.01")
    stream = io.StringIO()
    console = _Console(stream)
    console.width = columns
    console.print(table)
    shown = stream.getvalue()
    assert ("┃" in shown) == boxed and max(len(line) for line in shown.splitlines()) <= columns
    words = " ".join(shown.replace("│", " ").replace("┃", " ").split())
    for word in ("dense", "50%", "398.33", "138.84", "p95", "Inference, ms", "of one frame"):
        assert word in words
