"""`sparsevit inspect`: what a model file says about itself."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import options


def inspect(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="An exported .onnx file, an engine, or a bundled model; none lists the bundled ones.",
        ),
    ] = None,
    json: options.JsonFlag = False,
) -> None:
    """Show a model's card: task, input, windows, multiply-accumulates, classes, quality, training."""
    from sparsevit_runtime import bundled_models, diagnostics, load
    from sparsevit_runtime.model import find_model

    from ..console import stdout
    from ..inspection.view import bundled_view, inspect_view

    out = stdout()
    bundled = bundled_models()
    if model is None:
        if json:
            out.print_json(data={name: str(path) for name, path in bundled.items()})
        else:
            out.print(bundled_view(bundled))
        return
    path = find_model(model)
    if path.suffix == ".engine":
        report = diagnostics.inspect_engine(path)
    else:
        with load(model, threads=1) as loaded:
            report = diagnostics.inspect(loaded, path)
    if json:
        typer.echo(report.model_dump_json(indent=2))
        return
    for part in inspect_view(report):
        out.print(part)
