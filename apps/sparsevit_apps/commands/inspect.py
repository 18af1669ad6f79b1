"""`sparsevit inspect`: what a model file says about itself."""

from __future__ import annotations

import json as json_module
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

    from ..console import say_json, stdout
    from ..inspection.view import bundled_view, inspect_view

    out = stdout()
    bundled = bundled_models()
    if model is None:
        if json:
            say_json(json_module.dumps({name: str(path) for name, path in bundled.items()}, indent=2))
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
        say_json(report.model_dump_json(indent=2))
        return
    for part in inspect_view(report):
        out.print(part)
