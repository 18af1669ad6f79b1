"""`sparsevit search`: the plan that loses least accuracy inside a budget of latency or energy."""

from __future__ import annotations

import json as json_module
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from rich.table import Table

    from sparsevit_runtime import Model
    from sparsevit_training.search import SearchReport
    from sparsevit_training.search.cost import Gauge

#: Decoded samples kept in memory: a search goes through them hundreds of times.
_CACHE_MB = 2048
#: Frames that latency is measured on.
_FRAMES = 8
_BUDGET, _EFFORT = "Budget (one of these)", "Effort"


class Objective(str, Enum):
    latency = "latency"
    energy = "energy"


def search(
    model: options.Model,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled data, laid out as for `sparsevit eval`.")],
    budget_ms: Annotated[
        float | None, typer.Option("--budget-ms", help="Milliseconds per frame.", rich_help_panel=_BUDGET)
    ] = None,
    budget_mj: Annotated[
        float | None,
        typer.Option("--budget-mj", help="Millijoules per frame; needs a power meter.", rich_help_panel=_BUDGET),
    ] = None,
    budget_ratio: Annotated[
        float | None, typer.Option("--budget-ratio", help="Share of the dense model's cost.", rich_help_panel=_BUDGET)
    ] = None,
    budget_plan: Annotated[
        str | None,
        typer.Option("--budget-plan", help="What this plan costs: a sparsity or a plan file.", rich_help_panel=_BUDGET),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The plan found, for run, profile and eval.")
    ] = Path("plan.json"),
    split: Annotated[str, typer.Option("--split", help="Part of the data that decides.")] = "val",
    test: Annotated[str | None, typer.Option("--test", help="Part on which the results are compared.")] = None,
    objective: Annotated[
        Objective, typer.Option(help="What the budget limits; energy where the device can tell.")
    ] = Objective.latency,
    evaluations: Annotated[
        int, typer.Option(min=2, help="Plans evaluated, and as many at random.", rich_help_panel=_EFFORT)
    ] = 100,
    population: Annotated[int, typer.Option(min=2, help="Plans per generation.", rich_help_panel=_EFFORT)] = 20,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images per evaluation; all unless given. Finalists see all.", rich_help_panel=_EFFORT
        ),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(
            min=1, help="Timed runs per candidate; finalists get five times as many.", rich_help_panel=_EFFORT
        ),
    ] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.", rich_help_panel=_EFFORT)] = 0,
    snap: Annotated[
        bool,
        typer.Option("--snap", help="Compute what windows a GPU's matrix products have room for, in the later stages."),
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state", metavar="FILE", help="Answers so far, to go on from.  [default: beside the plan, *.search.json]"
        ),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget the answers so far.")] = False,
    cost: Annotated[
        Path | None,
        typer.Option("--cost", metavar="FILE", help="Go by a cost model of --save-cost, say of another device."),
    ] = None,
    save_cost: Annotated[
        Path | None, typer.Option("--save-cost", metavar="FILE", help="Write this device's cost model.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON.")] = None,
    backend: options.Backend = "auto",
    device: options.Device = None,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Find the plan that loses least accuracy inside a budget, by evolution; costs are measured on this device.

    Stopped at any moment and started again, it goes on where it was.
    """
    from sparsevit_runtime import load
    from sparsevit_runtime.dependencies import require
    from sparsevit_runtime.files import write_atomic
    from sparsevit_runtime.model import find_model
    from sparsevit_runtime.sinks.paths import check_target

    for path in (output, json, save_cost):
        if path is not None:
            check_target(path, overwrite)
    require("yaml")
    require("scipy")
    import hashlib

    from sparsevit_runtime.graph.onnx_file import read_onnx
    from sparsevit_training.evaluation_data import open_evaluation_data
    from sparsevit_training.search import Budget, CostModel, SearchSettings
    from sparsevit_training.search import search as find

    from ..console import progress_bar, say, stdout

    energy = objective is Objective.energy or budget_mj is not None
    if energy and budget_ms is not None:
        raise typer.BadParameter("milliseconds limit latency; give --budget-mj or a ratio", param_hint="--budget-ms")
    budget = Budget(budget_mj if energy else budget_ms, budget_ratio, budget_plan)
    settings = SearchSettings(evaluations, population, samples, rounds, seed, snap)
    path = find_model(model)
    state = output.with_suffix(".search.json") if state is None else state
    if restart:
        state.unlink(missing_ok=True)

    with load(model, backend, threads=threads, device=device) as loaded, ExitStack() as opened:
        progress = opened.enter_context(progress_bar())
        validation = open_evaluation_data(loaded, data, split, _CACHE_MB, progress)
        tested = None if test is None else open_evaluation_data(loaded, data, test, _CACHE_MB, progress)
        frames = [validation[i].image for i in range(min(_FRAMES, len(validation)))]
        onnx = path.suffix.lower() == ".onnx"
        digest = read_onnx(path).digest() if onnx else hashlib.sha256(path.read_bytes()).hexdigest()
        pairs = sum(stage.pairs for stage in loaded.card.stages)
        report, found_cost = find(
            loaded,
            validation,
            budget,
            _gauge(loaded, frames, energy, opened),
            settings,
            file=path.name,
            file_sha256=digest,
            device=_device(loaded),
            test=tested,
            cost_model=None if cost is None else CostModel.load(cost, digest, pairs),
            state_path=state,
            progress=progress,
        )
    report.best.plan.save(output, report.provenance())
    stdout().print(_table(report))
    if not report.best.within:
        say(f"no plan measured inside the budget of {report.budget:.3f} of dense; the cheapest is kept", err=True)
    if report.best is not report.rows[0]:
        say(f"the search found nothing better than the {report.best.name} plan; that one is written", err=True)
    say(f"wrote {output}; run it with: sparsevit run SOURCE SINK --model {model} --sparsity {output}")
    if save_cost is not None:
        found_cost.save(save_cost)
    if json is not None:
        write_atomic(json, (json_module.dumps(report.to_dict(), indent=1) + "\n").encode())


def _gauge(model: Model, frames: Sequence[np.ndarray], energy: bool, opened: ExitStack) -> Gauge:
    """Measures runs of the model; a meter is closed with `opened`."""
    from sparsevit_runtime.diagnostics import find_meter
    from sparsevit_runtime.errors import BackendError
    from sparsevit_training.search import EnergyGauge, LatencyGauge

    if not energy:
        return LatencyGauge(model, frames)
    meter, why_not = find_meter(model)
    if meter is None:
        raise BackendError(f"{why_not}. Search by latency instead")
    opened.callback(meter.close)
    return EnergyGauge(model, frames, meter)


def _device(model: Model) -> str:
    from sparsevit_runtime.diagnostics import read_machine

    details, machine = model.backend.details, read_machine()
    return f"{machine.jetson or machine.cpu}, {details.get('library', '')}, threads {details.get('threads', 'auto')}"


def _table(report: SearchReport) -> Table:
    from rich.table import Table

    table = Table(
        title=f"{report.metric}, budget {report.budget_text} ({report.budget:.3f} of dense)", title_justify="left"
    )
    cost = "of dense, predicted" if report.predicted else "of dense"
    for column in ("", "pruned per block pair", report.dataset, report.test_dataset, cost, report.unit, "budget"):
        if column is not None:
            table.add_column(column, justify="left" if column in ("", "pruned per block pair", "budget") else "right")
    for row in report.rows:
        stages = [",".join(f"{r:g}" for r in stage[::2]) for stage in row.plan.ratios]
        cells = [row.name, " | ".join(stages), f"{100 * row.validation:.2f}"]
        if row.test is not None:
            cells.append(f"{100 * row.test:.2f}")
        cells += [f"{row.predicted if report.predicted else row.ratio:.3f}", f"{row.absolute:.1f}"]
        table.add_row(*cells, "inside" if row.within else "over", style="bold" if row is report.best else None)
    return table
