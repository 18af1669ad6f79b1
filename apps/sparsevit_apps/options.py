"""Options several subcommands share, and the texts they accept."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from sparsevit_runtime.errors import PlanError

_RUNNING = "Running"
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

SPARSITY_HELP = "Share of windows pruned: 0.6 or 60%, a list per stage (0.6,0.6,0.4,0) or a plan file (.json)."


def parse_sweep(text: str) -> list[str]:
    """Sparsities of a sweep, without repeats: ``0,0.3,plan.json``. The dense run comes first, asked for or not.

    Raises:
        PlanError: an entry is empty, or a number outside 0 to 1.
    """
    from sparsevit_runtime.windows.plan import ratio_of_text

    entries = ["0"]
    for part in (p.strip() for p in text.split(",")):
        if not part:
            raise PlanError(f"the sweep {text!r} has an empty entry; give numbers or plan files: 0,0.3,0.6,plan.json")
        ratio = ratio_of_text(part)
        if ratio is not None:
            if not 0.0 <= ratio <= 1.0:
                raise PlanError(f"the sweep {text!r} has {part}; a sparsity is the share pruned, from 0 to 1")
            part = f"{ratio:g}"
        if part not in entries:
            entries.append(part)
    return entries


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
