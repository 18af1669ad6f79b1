"""What stands behind `sparsevit export`: checkpoint in, file and parity report out. Needs the export extra."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table
from rich.text import Text

from sparsevit_runtime.card import TrainingCard
from sparsevit_runtime.dependencies import require
from sparsevit_runtime.errors import CheckpointError, ExportError
from sparsevit_runtime.progress import SILENT, Progress
from sparsevit_runtime.sinks.paths import check_target
from sparsevit_runtime.windows.plan import Plan

if TYPE_CHECKING:
    from torch import nn

    from sparsevit_exporter import ParityReport
    from sparsevit_exporter.checkpoints import LoadedCheckpoint
    from sparsevit_exporter.tasks import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What was asked for.

    Attributes:
        checkpoint, output: paths.
        input_hw: height and width in pixels; None for the checkpoint's own.
        task: name of what to export; None for the checkpoint's own. ``backbone`` leaves a head out.
        precision, half_weights, name: values as in `ExportOptions`.
        task_options: options of the task's own, by name.
        plan: plan to freeze, in any form `Plan.parse` reads; None makes `keep` an input.
        format: format of the checkpoint, ``auto`` to tell from its keys.
        overwrite: replaces a file that no earlier export wrote.
    """

    checkpoint: Path
    output: Path
    input_hw: tuple[int, int] | None
    task: str | None
    precision: Literal["fp32", "fp16"]
    plan: str | None
    half_weights: bool
    name: str
    format: str = "auto"
    task_options: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False


def export_checkpoint(request: ExportRequest, progress: Progress = SILENT) -> ParityReport:
    """Loads, traces, compares and, where parity holds, writes.

    Args:
        request: request of the command.
        progress: listener, told the steps.

    Raises:
        SinkError: the output cannot be written; found out before the work starts.
        MissingDependencyError: the export extra is not installed.
        CheckpointError, ExportError, PlanError: see the exporter.
    """
    check_target(request.output, request.overwrite)
    progress.start("starting PyTorch")
    for module in ("torch", "onnx", "onnxscript"):
        require(module)
    from sparsevit_exporter import ExportOptions, export, load_checkpoint
    from sparsevit_exporter.checkpoints.differences import differences

    progress.start(f"reading {request.checkpoint}")
    loaded = load_checkpoint(request.checkpoint, format=request.format)
    network, task = _network(loaded, request)
    height, width = _input_size(loaded, request)
    if told := differences(loaded.format, task.stages(network, height, width), loaded.adapted):
        log.warning("%s", told)
    options = ExportOptions(
        height=height,
        width=width,
        name=request.name,
        precision=request.precision,
        fixed=None if request.plan is None else Plan.parse(request.plan, task.backbone_of(network).depths),
        half_weights=request.half_weights,
        mean=loaded.mean,
        std=loaded.std,
        task=task.parse_options(request.task_options),
    )
    whole = network is loaded.network
    return export(
        network,
        request.output,
        options,
        loaded.classes if whole else (),
        training=_training(loaded.training),
        metrics=loaded.metrics if whole else (),
        progress=progress,
    )


def _network(loaded: LoadedCheckpoint, request: ExportRequest) -> tuple[nn.Module, Task[Any]]:
    """The network to export and its task."""
    from sparsevit_exporter.tasks import task_of

    wanted = task_of(request.task or loaded.task)
    network = wanted.network_in(loaded.network, task_of(loaded.task))
    if network is None:
        raise ExportError(
            f"{request.checkpoint} is a {loaded.task} checkpoint ({loaded.format} format), it has no {wanted.name} "
            f"head; export it with --task {loaded.task}, or train the head first"
        )
    return network, wanted


def _input_size(loaded: LoadedCheckpoint, request: ExportRequest) -> tuple[int, int]:
    size = request.input_hw or loaded.input_hw
    if size is None:
        raise CheckpointError(f"{request.checkpoint} records no input size; give one: --size 480x640")
    return size


def _training(about: dict[str, Any]) -> TrainingCard | None:
    """The card's part about training, when the checkpoint says enough."""
    if not about.get("data") or not about.get("licence"):
        return None
    return TrainingCard(**{key: str(about[key]) for key in ("data", "licence", "recipe") if key in about})


def failure(report: ParityReport, output: Path) -> ExportError:
    """The error for a report that does not hold."""
    worst = report.worst
    broken = sum(not row.holds for row in report.rows)
    advice = "try --precision fp32" if report.precision == "fp16" else "report it with the checkpoint's architecture"
    return ExportError(
        f"{output} was not written: {broken} of {len(report.rows)} comparisons with PyTorch do not hold; the worst is "
        f"{worst.tensor} at plan '{worst.plan}', difference {worst.difference:.3g}, limit {worst.limit:.3g}; {advice}"
    )


def parity_table(report: ParityReport, *, every_row: bool = False) -> Table:
    """The parity report: one line per tensor with its worst run, or every row."""
    table = Table(title="Parity: ONNX Runtime against PyTorch", title_justify="left")
    for column in ("tensor", "plan", "batch") if every_row else ("tensor", "runs", "worst at"):
        table.add_column(column, justify="right" if column in ("runs", "batch") else "left")
    for column in ("difference", "limit", "cosine"):
        table.add_column(column, justify="right")
    table.add_column("")
    for tensor in dict.fromkeys(row.tensor for row in report.rows):
        rows = [row for row in report.rows if row.tensor == tensor]
        shown = rows if every_row else [max(rows, key=lambda r: (not r.holds, r.difference / (r.limit or 1.0)))]
        for row in shown:
            place = (row.plan, str(row.batch)) if every_row else (str(len(rows)), f"{row.plan}, batch {row.batch}")
            table.add_row(
                tensor,
                *place,
                f"{row.difference:.2e}",
                f"{row.limit:.0e}",
                "" if row.cosine is None else f"{row.cosine:.7f}",
                Text("holds", "green") if row.holds else Text("differs", "bold red"),
            )
    table.caption = (
        "difference: largest, over the tensor's scale; for labels, boxes and orders the share that is wrong or out of "
        "order."
    )
    table.caption_justify = "left"
    return table
