"""A profile as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sparsevit_runtime.diagnostics.machine import MachineInfo
from sparsevit_runtime.diagnostics.measurement import EnergyUse, PowerInfo
from sparsevit_runtime.diagnostics.profile_report import Entry, ProfileReport, StageTimeName
from sparsevit_runtime.graph.parts import BACKBONE, HEAD_PARTS, HEADS, OTHER, PARTS, WHOLE, sums_of

from ..console import facts

#: Load per CPU above which the milliseconds say little about the machine at rest.
_BUSY = 0.5
_STAGE_TIMES: dict[StageTimeName, str] = {
    "h2d": "H2D",
    "compute": "GPU compute",
    "d2h": "D2H",
    "enqueue": "enqueue",
    "total": "end to end",
}


def profile_view(report: ProfileReport) -> Iterator[RenderableType]:
    """What to print, top to bottom."""
    yield facts(_header(report))
    yield Text()
    yield _inference_table(report)
    yield Text()
    yield _ratio_table(report)
    yield Text()
    yield _stage_table(report)
    if any(entry.stage_times for entry in report.entries):
        yield Text()
        yield _stage_time_table(report)
    if report.power is not None:
        yield Text()
        yield _energy_table(report, report.power)
    if any(entry.parts for entry in report.entries):
        yield Text()
        yield _part_table(report)
        yield Text()
        yield _part_macs_table(report)
    yield Text()
    if report.power_note:
        yield Text(report.power_note, style="dim")
    yield Text(report.timed_region, style="dim")
    if (busy := _busy(report)) is not None:
        yield Text(busy, style="yellow")


def pruned_label(entry: Entry) -> str:
    """A sparsity as people read it: ``60%``, ``dense``, or the plan's name."""
    try:
        return f"{float(entry.sparsity):.0%}"
    except ValueError:
        return entry.sparsity


def machine_line(machine: MachineInfo) -> str:
    """CPU and board in a line."""
    parts = [machine.cpu, f"{machine.physical_cores} cores"]
    if machine.usable_cores != machine.logical_cores:
        parts.append(f"{machine.usable_cores:g} usable")
    if machine.jetson:
        parts.insert(0, machine.jetson)
    if machine.power_mode:
        parts.append(f"power mode {machine.power_mode}")
    parts.append(f"governor {machine.governor or 'not shown'}")
    return ", ".join(parts)


def _header(report: ProfileReport) -> list[tuple[str, str]]:
    model, settings, machine = report.model, report.settings, report.machine
    versions = " ".join(f"{name} {version}" for name, version in machine.versions.items())
    height, width = model.input_hw
    load = f"{machine.load_average} before, {report.load_average_after} after"
    return [
        ("model", f"{model.name} ({model.file}), {model.task}, {model.precision}, input {width}x{height}"),
        ("frames", f"{settings.source}, {settings.frame_wh[0]}x{settings.frame_wh[1]}, batch {settings.batch}"),
        ("runs", f"{settings.iterations} rounds after {settings.warm_up} of warm-up, all sparsities in each round"),
        ("backend", f"{settings.library} on {settings.device}, threads {settings.threads}"),
        ("machine", machine_line(machine)),
        ("system", f"{machine.distribution}, {machine.system}, python {machine.python}"),
        ("versions", versions),
        ("load", load),
    ]


def _inference_table(report: ProfileReport) -> Table:
    table = Table(title="Inference, ms", title_justify="left")
    for column in ("pruned", "mean", "min", "p50", "p90", "p95", "p99", "CoV"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in report.entries:
        s = entry.stages["inference"]
        values = (s.mean, s.min, s.p50, s.p90, s.p95, s.p99)
        table.add_row(pruned_label(entry), *(f"{v:.2f}" for v in values), f"{s.cov:.1%}")
    return table


def _ratio_table(report: ProfileReport) -> Table:
    """What the plans leave to do, and what they leave of the time."""
    table = Table(title="Against the dense model", title_justify="left", caption_justify="left")
    for column in ("pruned", "windows", "GMACs", "MACs left"):
        table.add_column(column, justify="right", no_wrap=True)
    table.caption = "MACs left: of the backbone's multiply-accumulates; the floor of the time."
    against_dense = any(e.time_ratio is not None for e in report.entries)
    if against_dense:
        table.add_column("time left", justify="right", style="bold", no_wrap=True)
        table.add_column("above floor", justify="right", no_wrap=True)
        table.caption += " time left: inference over the dense run's, median over the rounds."
    for entry in report.entries:
        row = [pruned_label(entry), f"{entry.window_share:.0%}", f"{entry.macs / 1e9:.2f}", f"{entry.mac_ratio:.3f}"]
        if against_dense:
            row += [f"{entry.time_ratio:.3f}", f"{entry.above_floor:+.3f}"]
        table.add_row(*row)
    return table


def _stage_table(report: ProfileReport) -> Table:
    table = Table(title="Stages, p50 ms", title_justify="left")
    for column in ("pruned", "preprocess", "inference", "postprocess", "total", "p95", "frames/s"):
        table.add_column(column, justify="right")
    for entry in report.entries:
        stages = entry.stages
        row = [f"{stages[name].p50:.2f}" for name in ("preprocess", "inference", "postprocess", "total")]
        rate = report.settings.batch * 1e3 / stages["total"].p50
        table.add_row(pruned_label(entry), *row, f"{stages['total'].p95:.2f}", f"{rate:.1f}")
    table.caption = "p95: of the total. frames/s: one after the other; a stream overlaps the stages and is faster."
    table.caption_justify = "left"
    return table


def _stage_time_table(report: ProfileReport) -> Table:
    """In trtexec's words."""
    table = Table(title="On the device, ms", title_justify="left")
    for column in ("pruned", "stage", "min", "median", "p90", "p99"):
        table.add_column(column, justify="left" if column == "stage" else "right", no_wrap=True)
    for entry in report.entries:
        for number, (name, s) in enumerate((entry.stage_times or {}).items()):
            label = _STAGE_TIMES[name]
            row = [pruned_label(entry) if number == 0 else "", label]
            table.add_row(*row, *(f"{value:.3f}" for value in (s.min, s.p50, s.p90, s.p99)))
        table.add_section()
    return table


def _energy_table(report: ProfileReport, power: PowerInfo) -> Table:
    idle = "" if power.idle_watts is None else f", {power.idle_watts:.2f} W at idle"
    table = Table(title=f"Energy, {power.meter} ({power.scope}){idle}", title_justify="left")
    for column in ("pruned", "mJ/frame", "above idle", "watts", "frames", "clocks, MHz", "throttled"):
        table.add_column(column, justify="right" if column in ("pruned", "mJ/frame", "above idle", "watts") else "left")
    for entry in report.entries:
        use = entry.energy
        if use is None:
            continue
        figures = [number_or_dash(v) for v in (use.mj_per_frame, use.mj_above_idle, use.mean_watts)]
        table.add_row(pruned_label(entry), *figures, str(use.frames), ranges(use.clocks_mhz), throttling(use))
    return table


def _part_table(report: ProfileReport) -> Table:
    """Times of the network's parts, by sparsity."""
    entries = [entry for entry in report.entries if entry.parts]
    times = [{part.part: part.ms for part in entry.parts or ()} for entry in entries]
    table = _table_of_parts("Parts of the network, ms and share of all layers", entries, times, "{:.2f}")
    table.caption = "Timed one by one, which takes longer than the inference above; the shares are what counts."
    return table


def _part_macs_table(report: ProfileReport) -> Table:
    """What they have to multiply, likewise."""
    macs = [{name: count / 1e9 for name, count in entry.part_macs.items()} for entry in report.entries]
    title = "Parts of the network, 10^9 multiply-accumulates per image and share"
    table = _table_of_parts(title, report.entries, macs, "{:.3g}")
    table.caption = (
        "Matrix products and convolutions. Not counted: norms, moving windows and regions about, what is chosen."
    )
    return table


def _table_of_parts(title: str, entries: Sequence[Entry], values: Sequence[dict[str, float]], number: str) -> Table:
    """A row a part and a column a sparsity, and sums below."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("part", no_wrap=True)
    for entry in entries:
        table.add_column(pruned_label(entry), justify="right", no_wrap=True)
    sums = [sums_of(each) for each in values]
    known = (*PARTS, *HEAD_PARTS)
    names = (*known, *sorted({name for each in values for name in each} - {*known, OTHER}), OTHER)
    for group in (names, (BACKBONE, HEADS, WHOLE)):
        for name in group:
            rows = values if group is names else sums
            if any(each.get(name) for each in rows):
                cells = (
                    f"{number.format(each[name])} {each[name] / (total[WHOLE] or 1):4.0%}" if name in each else "-"
                    for each, total in zip(rows, sums, strict=True)
                )
                table.add_row(name, *cells)
        table.add_section()
    return table


def number_or_dash(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def ranges(values: dict[str, tuple[float, float]]) -> str:
    """Smallest and largest by name; many clocks of CPU cores are one."""
    merged: dict[str, tuple[float, float]] = {}
    for name, (low, high) in values.items():
        short = name.split()[0]
        before = merged.get(short, (low, high))
        merged[short] = min(before[0], low), max(before[1], high)
    return ", ".join(f"{n} {a:.0f}" if round(a) == round(b) else f"{n} {a:.0f}-{b:.0f}" for n, (a, b) in merged.items())


def throttling(use: EnergyUse) -> Text:
    """Reasons, or what ended the measuring."""
    if use.problem:
        return Text(use.problem, style="yellow")
    if not use.throttled:
        return Text("no")
    return Text(", ".join(f"{reason} {share:.0%}" for reason, share in use.throttled.items()), style="bold red")


def _busy(report: ProfileReport) -> str | None:
    load, cores = report.machine.load_average, report.machine.usable_cores
    if load is None or load <= _BUSY * cores:
        return None
    return (
        f"The machine was busy before the first run (load {load:.1f} on {cores:g} CPUs): the ratios stand, "
        "because every round runs all sparsities, but the milliseconds would be lower on a machine at rest."
    )
