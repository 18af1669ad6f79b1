"""A profile as a picture."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

from sparsevit_runtime.dependencies import require
from sparsevit_runtime.diagnostics.profile_report import Entry, ProfileReport, StageName

from .view import machine_line, pruned_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STAGES: tuple[tuple[StageName, str], ...] = (
    ("preprocess", "#9ecae9"),
    ("inference", "#3174a1"),
    ("postprocess", "#f0a35e"),
)
_FLOOR, _MEASURED = "#7a7a7a", "#c03d3e"


def plot_profile(report: ProfileReport) -> bytes:
    """Milliseconds per sparsity, and time against the multiply-accumulates left.

    Returns:
        A PNG file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require("matplotlib")
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    compared = [e for e in report.entries if e.time_ratio is not None]
    panels = 2 if len(compared) > 1 else 1
    figure = Figure(figsize=(5.6 * panels, 4.8), dpi=140, layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_stages(axes[0], report)
    if panels == 2:
        _draw_ratios(axes[1], compared)
    model, settings = report.model, report.settings
    figure.suptitle(f"{model.name}, {model.task}, input {model.input_hw[1]}x{model.input_hw[0]}, {model.precision}")
    note = (
        f"{machine_line(report.machine)}; {settings.library} on {settings.device}, threads {settings.threads}; "
        f"batch {settings.batch}, {settings.iterations} rounds, frames {settings.frame_wh[0]}x{settings.frame_wh[1]}"
    )
    figure.supxlabel(textwrap.fill(note, 75 * panels), fontsize=7, color="#555555")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _draw_stages(axes: Axes, report: ProfileReport) -> None:
    """Stacked medians; the whisker ends at p95 of the total."""
    positions = list(range(len(report.entries)))
    base = [0.0] * len(positions)
    for stage, color in _STAGES:
        heights = [e.stages[stage].p50 for e in report.entries]
        axes.bar(positions, heights, bottom=base, color=color, label=stage, width=0.6)
        base = [b + h for b, h in zip(base, heights)]
    above = [max(0.0, e.stages["total"].p95 - b) for e, b in zip(report.entries, base)]
    whiskers = [[0.0] * len(base), above]
    axes.errorbar(
        positions, base, yerr=whiskers, fmt="none", ecolor="#333333", capsize=3, lw=1, label="to p95 of total"
    )
    axes.set_xticks(positions, [f"{pruned_label(e)}\n{b:.3g} ms" for e, b in zip(report.entries, base)])
    axes.set_xlim(-0.7, len(positions) - 0.3)
    axes.set_ylim(0, max(b + a for b, a in zip(base, above)) * 1.18)
    axes.set_xlabel("windows pruned")
    axes.set_ylabel("ms per run, median")
    axes.set_title("Latency", fontsize=10)
    axes.legend(fontsize=7.5, frameon=False, loc="upper center", ncols=4, columnspacing=1.0, handlelength=1.2)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_ratios(axes: Axes, entries: list[Entry]) -> None:
    """Measured share of the dense time above its floor; the band between them is what the plan does not buy."""
    positions = list(range(len(entries)))
    floors, ratios = [e.mac_ratio for e in entries], [e.time_ratio or 0.0 for e in entries]
    axes.fill_between(positions, floors, ratios, color=_MEASURED, alpha=0.10, lw=0)
    axes.plot(positions, ratios, color=_MEASURED, marker="o", ms=5, label="inference time")
    axes.plot(positions, floors, color=_FLOOR, marker="o", ms=4, ls="--", lw=1.2, label="backbone MACs, the floor")
    for values, offset, color in ((ratios, 7, _MEASURED), (floors, -13, _FLOOR)):
        for position, value in zip(positions, values):
            axes.annotate(
                f"{value:.2f}",
                (position, value),
                xytext=(0, offset),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=color,
            )
    axes.set_xticks(positions, [pruned_label(e) for e in entries])
    axes.set_ylim(min(0.0, min(floors) - 0.1), max(1.12, max(ratios) * 1.12))
    axes.set_xlabel("windows pruned")
    axes.set_ylabel("share of the dense model's")
    axes.set_title("What pruning buys", fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    axes.grid(axis="y", color="#dddddd", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
