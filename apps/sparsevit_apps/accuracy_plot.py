"""Accuracy against measured time, as a picture."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparsevit_runtime.dependencies import require

if TYPE_CHECKING:
    from sparsevit_training.evaluate import Evaluation

_OWN, _PEERS, _FRONT = "#3174a1", "#f0a35e", "#7a7a7a"


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats in both, fastest first.

    Args:
        points: milliseconds (less is better) and score (more is better).
    """
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] == points[i][1] and (not front or points[i][1] > points[front[-1]][1]):  # NaN is no score
            front.append(i)
    return front


def plot_accuracy(figures: Sequence[Evaluation], peers: Sequence[Evaluation] = (), note: str = "") -> bytes:
    """Score over time per frame; a line joins the evaluations that nothing beats in both.

    Args:
        figures: figures of the model, one per plan.
        peers: peers of other detectors.
        note: small print, such as the machine.

    Returns:
        A PNG file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require("matplotlib")
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    first = figures[0]
    metric = next(iter(first.figures))
    peers = [f for f in peers if f.total_ms == f.total_ms]  # results without a time have no place
    everything = [*figures, *peers]
    points = [(f.total_ms, 100 * f.score) for f in everything]
    figure = Figure(figsize=(7.2, 4.8), dpi=140, layout="constrained")
    axes = figure.subplots()
    front = [points[i] for i in pareto_front(points)]
    axes.plot(*zip(*front), color=_FRONT, ls="--", lw=1.2, zorder=1, label="Pareto front")
    for group, color, marker, label in ((figures, _OWN, "o", first.model), (peers, _PEERS, "s", "other detectors")):
        if group:
            axes.scatter(
                [f.total_ms for f in group],
                [100 * f.score for f in group],
                color=color,
                marker=marker,
                s=34,
                zorder=2,
                label=label,
            )
    for i, (evaluation, point) in enumerate(zip(everything, points)):
        text = plan_label(evaluation) if i < len(figures) else evaluation.model
        below = i < len(figures) and i % 2 == 1  # neighbours along the curve share little room
        axes.annotate(
            text, point, xytext=(0, -14 if below else 8), textcoords="offset points", ha="center", fontsize=7.5
        )
    axes.margins(x=0.12, y=0.16)
    axes.set_xlim(left=0)
    axes.set_xlabel("ms per frame, letterbox to answer, median")
    axes.set_ylabel(f"{metric}, %")
    axes.set_title(f"{first.dataset}, {first.images} frames", fontsize=10)
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, frameon=False, loc="best")
    axes.spines[["top", "right"]].set_visible(False)
    if note:
        figure.supxlabel(textwrap.fill(note, 110), fontsize=7, color="#555555")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def plan_label(evaluation: Evaluation) -> str:
    """A plan in a few letters: ``50%`` for a uniform one, a file's name without its folder, else the mean."""
    try:
        return f"{100 * float(evaluation.plan):g}%"
    except ValueError:
        pass
    if evaluation.plan.endswith(".json"):
        return Path(evaluation.plan).stem
    return f"{evaluation.plan if evaluation.plan == 'own' else 'mean'} {100 * evaluation.ratio:.0f}%"
