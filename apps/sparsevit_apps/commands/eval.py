"""`sparsevit eval`: accuracy of an exported file on labelled frames, at several sparsities."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options

if TYPE_CHECKING:
    from rich.table import Table

    from sparsevit_training.evaluate import Evaluation


def evaluate(
    model: options.Model,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder with classes.txt and SPLIT/images, SPLIT/labels (CamVid).")
    ],
    split: Annotated[list[str] | None, typer.Option("--split", help="Sub-folder; repeatable.  [default: test]")] = None,
    sweep: Annotated[str, typer.Option("--sweep", help="Sparsities: numbers or plan files.")] = "0,0.3,0.5,0.6,0.7",
    name: Annotated[str | None, typer.Option(help="Of the data, in the report.")] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON.")] = None,
    record: Annotated[bool, typer.Option("--record", help="Write the figures into the model's card.")] = False,
    backend: options.Backend = "auto",
    device: options.Device = None,
    threads: options.Threads = None,
) -> None:
    """Measure mIoU through the runtime: letterbox, graph and label map as deployed. Void pixels do not count."""
    from sparsevit_runtime import load
    from sparsevit_runtime.dependencies import require
    from sparsevit_runtime.files import write_whole
    from sparsevit_runtime.model import find_model

    require("yaml")  # the datasets' descriptions share a module with the recipes
    from sparsevit_training.datasets import SemanticFolder, read_classes
    from sparsevit_training.evaluate import evaluate as measure

    from ..console import progress_bar, stdout

    with load(model, backend, threads=threads, device=device) as loaded:
        classes = read_classes(data / "classes.txt")
        void = [i for i, c in classes.items() if c.name not in loaded.class_names]
        if void:
            names = ", ".join(classes[i].name for i in void)
            typer.echo(f"not counted, because {loaded.card.name} has no such class: {names}", err=True)
        dataset = SemanticFolder(data, split or ["test"], void, cache_mb=0)
        plans: list[str | None] = [None] if loaded.card.windows.fixed else list(options.parse_sweep(sweep))
        with progress_bar() as bar:
            figures = measure(loaded, dataset, plans, name, lambda indices: bar.track(indices, description="measuring"))
    stdout().print(_table(figures, dataset.name if name is None else name))
    if json is not None:
        write_whole(json, (json_module.dumps([f.to_dict() for f in figures], indent=1) + "\n").encode())
    if record:
        require("onnx")
        from sparsevit_exporter.card_file import record_metrics

        path = find_model(model)
        record_metrics(path, [f.metric() for f in figures])
        typer.echo(f"recorded in the card of {path}")


def _table(figures: list[Evaluation], title: str) -> Table:
    from rich.table import Table

    table = Table(title=f"mIoU on {title}, {figures[0].images} frames", title_justify="left")
    table.add_column("class")
    for figure in figures:
        table.add_column(figure.plan, justify="right")
    for i, name in enumerate(figures[0].classes):
        table.add_row(name, *(f"{100 * f.iou[i]:.1f}" for f in figures))
    table.add_section()
    table.add_row("mIoU", *(f"{100 * f.miou:.2f}" for f in figures), style="bold")
    table.add_row("pixels right", *(f"{100 * f.pixel_accuracy:.1f}" for f in figures))
    table.add_row("inference ms", *(f"{f.inference_ms:.1f}" for f in figures))
    return table
