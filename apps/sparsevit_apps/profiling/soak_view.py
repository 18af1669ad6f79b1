"""A soak as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sparsevit_runtime.diagnostics.soak_report import SoakInterval, SoakReport

from ..console import facts
from .view import machine_line, number_or_dash, ranges, throttling

#: Drift of the median above which the last interval is told to be slower.
_DRIFT = 0.05


def soak_view(report: SoakReport) -> Iterator[RenderableType]:
    """What to print, top to bottom."""
    yield facts(_header(report))
    yield Text()
    yield _interval_table(report)
    yield Text()
    yield from _findings(report)
    if report.power_note:
        yield Text(report.power_note, style="dim")


def _sparsity(asked: str) -> str:
    """``60% pruned`` for a number; a plan, ``dense`` and ``fixed`` as they are."""
    try:
        return f"{float(asked):.0%} pruned"
    except ValueError:
        return asked


def _header(report: SoakReport) -> list[tuple[str, str]]:
    model = report.model
    asked = f" of {report.seconds_asked:.0f}" if report.stopped else ""
    rows = [
        (
            "model",
            f"{model.name} ({model.file}), {model.precision}, {_sparsity(report.sparsity)}, batch {report.batch}",
        ),
        ("time", f"{report.seconds:.0f}{asked} s, {report.frames} frames{', stopped' if report.stopped else ''}"),
        ("backend", f"{report.library} on {report.device}"),
        ("machine", machine_line(report.machine)),
    ]
    if report.power is not None:
        idle = number_or_dash(report.power.idle_watts)
        rows.append(("power", f"{report.power.meter} ({report.power.scope}), {idle} W at idle"))
    return rows


def _interval_table(report: SoakReport) -> Table:
    table = Table(title="From the frame to the answer, ms", title_justify="left")
    columns = ["from", "p50", "p90", "p99", "max", "frames", "MB"]
    if report.power is not None:
        columns += ["watts", "mJ/frame"]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("clocks, MHz", "hottest, °C", "throttled"):
        table.add_column(column)
    for interval in report.intervals:
        s, use = interval.latency, interval.use
        row = [_clock(interval.start_s), *(f"{v:.2f}" for v in (s.p50, s.p90, s.p99, s.max)), str(use.frames)]
        row.append(number_or_dash(interval.resident_mb, 0))
        if report.power is not None:
            row += [number_or_dash(use.mean_watts), number_or_dash(use.mj_per_frame)]
        table.add_row(*row, ranges(use.clocks_mhz) or "-", _hottest(interval), throttling(use))
    return table


def _findings(report: SoakReport) -> Iterator[Text]:
    if report.drift is None:
        yield Text("One interval: nothing to compare it with.")
    else:
        slower = report.drift > _DRIFT
        yield Text(
            f"The last median is {report.drift:+.1%} of the first.", style="bold yellow" if slower else "default"
        )
    if report.memory_growth_mb is not None:
        yield Text(f"The memory grew by {report.memory_growth_mb:+.1f} MB after the first interval.")
    if report.throttled:
        reasons = ", ".join(f"{reason} (in {seconds:.0f} s)" for reason, seconds in report.throttled.items())
        yield Text(f"Throttled: {reasons}.", style="bold red")
    elif any(interval.use.clocks_mhz or interval.use.temperatures_c for interval in report.intervals):
        yield Text("Nothing throttled, as far as this machine tells.")
    else:
        yield Text("This machine shows neither clocks nor temperatures, so throttling would not be seen.", style="dim")


def _hottest(interval: SoakInterval) -> str:
    temperatures = interval.use.temperatures_c
    if not temperatures:
        return "-"
    name, (_, high) = max(temperatures.items(), key=lambda item: item[1][1])
    return f"{name} {high:.0f}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
