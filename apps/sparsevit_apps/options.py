"""Options several subcommands share, and the texts they accept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from sparsevit_runtime.errors import ArgumentError, PlanError

if TYPE_CHECKING:
    from sparsevit_runtime import Reconnect, Tracking
    from sparsevit_runtime.live.governor import Target

_RUNNING, _LIVE = "Running", "Live"
#: The bundled model that runs when none is named.
DEFAULT_MODEL = "street-scenes"

Backend = Annotated[str, typer.Option("--backend", help="auto, onnxruntime or tensorrt.", rich_help_panel=_RUNNING)]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu or cuda; the best this machine offers unless given.", rich_help_panel=_RUNNING),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads; one per physical core unless given.", rich_help_panel=_RUNNING),
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="An exported .onnx file, or the name of a bundled model.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document in place of tables.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are no results of an earlier run.")]
MaxReconnect = Annotated[
    str | None,
    typer.Option(
        "--max-reconnect",
        metavar="N",
        help="Attempts in a row to open a camera or stream anew, also one that is not there yet: a number, 0 for none, "
        "or 'forever'. Unless given, one that breaks has about 15 s to come back.",
    ),
]
TimeoutMs = Annotated[
    int | None,
    typer.Option(
        "--timeout-ms",
        min=1,
        help="Longest wait for a camera or stream to open, and for each of its frames; 12000 and 8000 unless given.",
    ),
]
_TRACKING = "Tracking"
Track = Annotated[
    bool,
    typer.Option("--track", help="Detected objects keep their numbers from frame to frame.", rich_help_panel=_TRACKING),
]
CountLines = Annotated[
    list[str] | None,
    typer.Option(
        "--count-line",
        metavar="X1,Y1,X2,Y2",
        help="Count objects that cross a line, in to its left and out: shares of the frame, or pixels where a number "
        "is above 1; ',name=gate' behind them names it. May be repeated.",
        rich_help_panel=_TRACKING,
    ),
]
CountZones = Annotated[
    list[str] | None,
    typer.Option(
        "--count-zone",
        metavar="X,Y,X,Y,X,Y...",
        help="Count objects that come into a polygon, leave it, and are there. May be repeated.",
        rich_help_panel=_TRACKING,
    ),
]

TargetMs = Annotated[
    float | None,
    typer.Option(
        "--target-ms",
        metavar="MS",
        help="Prune as much as it takes for 9 frames of 10 to be done within this time of their arrival.",
        rich_help_panel=_LIVE,
    ),
]
TargetFps = Annotated[
    float | None,
    typer.Option(
        "--target-fps",
        metavar="FPS",
        help="Prune as much as it takes for so many frames a second.",
        rich_help_panel=_LIVE,
    ),
]
Levels = Annotated[
    str | None,
    typer.Option(
        "--levels",
        metavar="LIST",
        help="What a target chooses among: sparsities or plan files, by commas. 0 to 0.8 in steps of 0.1 unless given.",
        rich_help_panel=_LIVE,
    ),
]
MaxAgeMs = Annotated[
    float | None,
    typer.Option(
        "--max-age-ms",
        metavar="MS",
        help="Drop frames of a live source that are older than this when the model is free.",
        rich_help_panel=_LIVE,
    ),
]

SPARSITY_HELP = (
    "Share of windows pruned: 0.6 or 60%, a list per stage (0.6,0.6,0.4,0), a published plan (cfg1, cfg2 or cfg3) or a "
    "plan file (.json)."
)


def parse_target(
    target_ms: float | None, target_fps: float | None, sparsity: str | None, levels: str | None
) -> Target | None:
    """What a governor is to meet; None where nothing was asked for.

    Raises:
        ArgumentError: a number that is no target, a sparsity beside a target, or levels without one.
    """
    if target_ms is None and target_fps is None:
        if levels is not None:
            raise ArgumentError("--levels is what a target chooses among; add --target-ms or --target-fps")
        return None
    if sparsity is not None:
        raise ArgumentError("--sparsity fixes what a target is to choose; leave one out, or name the choice: --levels")
    from sparsevit_runtime.live.governor import Target

    return Target(target_ms, target_fps)


def parse_sweep(text: str) -> list[str]:
    """Sparsities of a sweep, without repeats: ``0,0.3,plan.json``. The dense run comes first, asked for or not.

    Raises:
        PlanError: an entry is empty, or a number outside 0 to 1.
    """
    from sparsevit_runtime.windows.plan import ratio_of_text

    entries = ["0"]
    for part in split_plans(text):
        ratio = ratio_of_text(part)
        if ratio is not None:
            if not 0.0 <= ratio <= 1.0:
                raise PlanError(f"the sweep {text!r} has {part}; a sparsity is the share pruned, from 0 to 1")
            part = f"{ratio:g}"
        if part not in entries:
            entries.append(part)
    return entries


def parse_reconnect(attempts: str | None, timeout_ms: int | None) -> Reconnect:
    """The rule of ``--max-reconnect`` and ``--timeout-ms``, each None where it was not given.

    Raises:
        typer.BadParameter: the attempts are no whole number from 0, and not ``forever``.
    """
    from sparsevit_runtime.live.reconnect import BRIEF, Reconnect

    rule = BRIEF
    if attempts is not None:
        text = attempts.strip().lower()
        if text != "forever" and not re.fullmatch(r"[0-9]{1,9}", text):
            raise typer.BadParameter(
                f"{attempts!r} is no number of attempts; give 0, 1, 2, ... or forever", param_hint="--max-reconnect"
            )
        number = None if text == "forever" else int(text)
        longest_s = Reconnect.longest_wait_s if number is None else BRIEF.longest_wait_s
        rule = replace(BRIEF, attempts=number, before_first=number != 0, longest_wait_s=longest_s)
    return rule if timeout_ms is None else rule.within(timeout_ms / 1e3)


def split_plans(text: str) -> list[str]:
    """Sparsities and plan files by commas: ``0,0.3,plan.json``.

    Raises:
        PlanError: an entry is empty.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise PlanError(f"the list {text!r} has an empty entry; give numbers or plan files: 0,0.3,0.6,plan.json")
    return parts


def parse_tracking(track: bool, lines: list[str] | None, zones: list[str] | None) -> Tracking | bool:
    """What ``--track``, ``--count-line`` and ``--count-zone`` say; a place to count at implies tracking.

    Raises:
        typer.BadParameter: a line or zone is none, or two have one name.
    """
    if not lines and not zones:
        return track
    try:
        return tracking_at(lines or (), zones or ())
    except ArgumentError as error:
        raise typer.BadParameter(str(error), param_hint="--count-line, --count-zone") from error


def tracking_at(lines: Iterable[str], zones: Iterable[str], *, lost_s: float | None = None) -> Tracking:
    """A `Tracking` with places to count at, from texts. Raises ArgumentError: a line or zone is none, or two have one
    name."""
    from sparsevit_runtime import CountLine, CountZone, Tracking

    tracking = Tracking(count=[*map(CountLine.parse, lines), *map(CountZone.parse, zones)])
    return tracking if lost_s is None else replace(tracking, lost_s=lost_s)


def parse_duration(text: str) -> float:
    """Seconds from ``90``, ``90s``, ``10m``, ``1.5h`` or ``1d``.

    Raises:
        typer.BadParameter: no such text, or no time at all.
    """
    from sparsevit_runtime.sinks.options import parse_duration as parse

    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from ``HxW``, or from one number for a square.

    Raises:
        typer.BadParameter: not one or two whole numbers above zero.
    """
    match = re.fullmatch(r"\s*([1-9][0-9]{0,4})(?:\s*[xX]\s*([1-9][0-9]{0,4}))?\s*", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size; give HEIGHTxWIDTH in pixels, such as 480x640")
    height = int(match[1])
    return height, int(match[2]) if match[2] else height
