"""`sparsevit half`: a model in half precision, made from its float32 file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import options


def half(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An fp32 .onnx file, or a bundled model's name.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .onnx file to write.")],
    overwrite: options.Overwrite = False,
) -> None:
    """Make a model compute in half precision, for a GPU.

    The result is compared with the original in ONNX Runtime, and written where they agree.
    """
    if output.suffix.lower() != ".onnx":
        raise typer.BadParameter(f"{str(output)!r}: a model is an .onnx file", param_hint="--output")
    from sparsevit_runtime.diagnostics import write_half
    from sparsevit_runtime.sinks.paths import check_target

    from ..console import progress_bar, say

    check_target(output, overwrite)
    with progress_bar() as progress:
        report = write_half(model, output, progress)
    worst = report.worst
    if not report.agrees:
        say(f"nothing written: in half precision {worst.tensor} does not agree ({worst.run}): {worst.problem}")
        raise typer.Exit(1)
    say(f"wrote {output}; {len(report.tensors)} outputs agree, the worst is {worst.tensor} ({worst.required})")
