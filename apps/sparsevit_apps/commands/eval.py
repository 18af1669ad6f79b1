"""`sparsevit eval`: accuracy of an exported file on labelled frames, at several sparsities."""

from __future__ import annotations

import json as json_module
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options

if TYPE_CHECKING:
    from rich.table import Table

    from sparsevit_training.datasets import Dataset
    from sparsevit_training.evaluate import Evaluation


def evaluate(
    model: options.Model,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Segmentation: a folder with classes.txt and SPLIT/images, SPLIT/labels (CamVid). Detection "
            "and instances: a folder with annotations/instances_SPLIT.json and SPLIT (COCO), or annotations.json and "
            "images.",
        ),
    ],
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Part of the data; repeatable.  [default: test, else val]")
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option("--sweep", help="Sparsities: numbers or plan files, by commas.  [default: 0,0.3,0.5,0.6,0.7]"),
    ] = None,
    peer: Annotated[
        list[Path] | None,
        typer.Option(
            "--peer",
            metavar="FILE",
            help="A YOLOX, NanoDet or FastestDet (ONNX), or COCO results "
            "(.json) of any program, to compare; repeatable.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Classes to score, by commas.  [default: all that model and data have]"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the data, in the report.")] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Write accuracy against time (.png). Needs matplotlib."),
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Write the figures into the model's card.")] = False,
    record_threshold: Annotated[
        bool,
        typer.Option(
            "--record-threshold",
            help="Write the threshold of the best F1, at the first sparsity of the sweep, into the model's card "
            "(detection).",
        ),
    ] = False,
    backend: options.Backend = "auto",
    device: options.Device = None,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Measure mIoU or COCO AP through the runtime, as deployed: scaling, graph and answer in the frame's pixels."""
    from sparsevit_runtime import load
    from sparsevit_runtime.dependencies import require
    from sparsevit_runtime.errors import ArgumentError
    from sparsevit_runtime.files import write_atomic
    from sparsevit_runtime.model import find_model
    from sparsevit_runtime.sinks.paths import check_target

    for path in (json, plot):
        if path is not None:
            check_target(path, overwrite)
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise typer.BadParameter(f"{str(plot)!r}: the picture is a .png file", param_hint="--plot")
        require("matplotlib")
    if record or record_threshold:
        require("onnx")
    if record and classes is not None:
        raise typer.BadParameter("a card's figures are of all classes; leave out one of the two", param_hint="--record")
    require("yaml")  # the datasets' descriptions share a module with the recipes
    from sparsevit_training.evaluate import evaluate as measure
    from sparsevit_training.evaluate import evaluate_peer
    from sparsevit_training.evaluation_data import open_evaluation_data
    from sparsevit_training.peers import open_peer
    from sparsevit_training.recorded_results import evaluate_results

    from ..accuracy_plot import plot_accuracy
    from ..console import progress_bar, say, stderr, stdout

    with load(model, backend, threads=threads, device=device) as loaded:
        results = [path for path in peer or [] if path.suffix.lower() == ".json"]
        others = [open_peer(path, threads) for path in peer or [] if path not in results]
        if any(loaded.task != other.task for other in others):
            raise typer.BadParameter(
                f"{loaded.card.name} is a {loaded.task} model, peers are for {others[0].task}", param_hint="--peer"
            )
        with progress_bar() as progress:
            chosen = None if classes is None else [c.strip() for c in classes.split(",")]
            dataset = open_evaluation_data(loaded, data, split, progress=progress, classes=chosen)
        if sweep is not None or loaded.card.windows.fixed is None:
            plans: list[str | None] = list(options.parse_sweep(sweep or "0,0.3,0.5,0.6,0.7"))
        else:
            plans = [None]
        loaded.warm_up()
        with progress_bar() as progress:
            figures = measure(loaded, dataset, plans, name, progress)
            beside = [evaluate_peer(p, dataset, name, progress) for p in others]
            beside += [evaluate_results(path, dataset, loaded.task, name) for path in results]
        note = f"{loaded.backend.name}, input {loaded.input_hw[1]}x{loaded.input_hw[0]}"
    stdout().print(_table(figures, beside, dataset))
    if json is not None:
        left_out = {"frames": {s.name: s.reason for s in dataset.skipped}, "objects": dict(dataset.left_out)}
        data_notes = {"left_out": left_out, "unscored": sorted(dataset.unscored), "absent": list(dataset.absent)}
        about = {
            "skipped": [s.name for s in dataset.skipped],
            **data_notes,
            "backend": loaded.backend.name,
            **loaded.backend.details,
        }
        document = [{**f.to_dict(), **(about if f in figures else {})} for f in (*figures, *beside)]
        write_atomic(json, (json_module.dumps(document, indent=1) + "\n").encode())
        stderr().print(f"wrote {json}", markup=False)
    if plot is not None:
        write_atomic(plot, plot_accuracy(figures, beside, note))
        stderr().print(f"wrote {plot}", markup=False)
    if record:
        from sparsevit_exporter.card_file import record_metrics

        path = find_model(model)
        record_metrics(path, [m for f in figures for m in f.metrics()])
        say(f"recorded in the card of {path}")
        if uneven := [f.plan for f in figures if not f.uniform]:
            say(f"not recorded, for a card knows figures by one ratio: {', '.join(uneven)}", err=True)
    if record_threshold:
        from sparsevit_exporter.card_file import record_objects

        best = figures[0].threshold
        if best is None:
            raise ArgumentError(f"no threshold of {figures[0].model} on {figures[0].dataset}: nothing to choose it by")
        path, threshold = find_model(model), math.floor(100 * best) / 100
        record_objects(path, threshold=threshold)
        say(f"recorded in the card of {path}: threshold {threshold:.2f}")


def _table(figures: Sequence[Evaluation], peers: Sequence[Evaluation], dataset: Dataset) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from sparsevit_training.datasets.base import counted

    from ..accuracy_plot import plan_label

    first = figures[0]
    metric = next(iter(first.figures))
    table = Table(title=escape(f"{metric} on {first.dataset}, {first.images} frames"), title_justify="left")
    table.add_column("class")
    everything = [*figures, *peers]
    for evaluation in everything:
        table.add_column(evaluation.model if evaluation in peers else plan_label(evaluation), justify="right")
    for i, name in enumerate(first.classes):
        table.add_row(escape(name), *(_percent(f.per_class[i], 1) for f in everything))
    table.add_section()
    for name in first.figures:
        table.add_row(name, *(_percent(f.figures[name], 2) for f in everything), style="bold" if name == metric else "")
    table.add_row("inference ms", *(_number(f.inference_ms, 1) for f in everything))
    table.add_row("total ms", *(_number(f.total_ms, 1) for f in everything))
    notes = [f"{plan_label(figure)}: {note}" for figure in figures for note in figure.notes]
    notes += [f"{figure.model}: {note}" for figure in peers for note in figure.notes]
    frames = [f"{counted(len(dataset.skipped), 'frame')} left out"] if dataset.skipped else []
    table.caption = escape("\n".join([*notes, *frames, *dataset.notes])) or None
    table.caption_justify = "left"
    return table


def _percent(value: float, digits: int) -> str:
    return _number(100 * value, digits)


def _number(value: float, digits: int) -> str:
    return "-" if value != value else f"{value:.{digits}f}"
