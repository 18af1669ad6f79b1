"""Accuracy of an exported file on labelled data, through the runtime: letterbox, graph and answers as deployed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sparsevit_runtime import Result
from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.model import Model
from sparsevit_runtime.progress import SILENT, Progress, track
from sparsevit_runtime.windows.plan import Plan, PlanLike

from .datasets import Dataset
from .peers import Peer
from .tasks import Task, measured_task
from .tasks.evaluation import Evaluation, Tally


def evaluate(
    model: Model,
    dataset: Dataset,
    plans: Sequence[PlanLike | None] = (0.0,),
    name: str | None = None,
    progress: Progress = SILENT,
) -> list[Evaluation]:
    """Measures a model at several plans; each frame is read once and run at all of them.

    Args:
        model: open; its task has a metric, see `tasks`.
        dataset: labelled, such as `open_evaluation_data` opens; its classes must be the model's, in the same order.
        plans: sparsities in any form that `Plan.parse` takes; None for the model's own (a `--fixed` export takes no
            other).
        name: name of the data in the report; the dataset's own when None.
        progress: listener, told the frames.

    Returns:
        One evaluation per plan, in the same order.

    Raises:
        DatasetError: the task has no metric, the data has no labels of it, or classes differ.
        PlanError: a plan does not fit the model.
        MissingDependencyError: detection without pycocotools.
    """
    task = measured_task(model.task)
    tallies = [_tally(task, model.card.name, model.class_names, dataset) for _ in plans]
    windows = model.card.windows
    own = Plan.dense(windows.depths) if windows.fixed is None else Plan(windows.fixed)
    flat = [
        [r for stage in (own if plan is None else Plan.parse(plan, windows.depths)).ratios for r in stage]
        for plan in plans
    ]

    def run(plan: PlanLike | None) -> Callable[[np.ndarray], Result]:
        return lambda frame: model(frame, plan, threshold=task.least_score)

    times = _measure(dataset, [run(p) for p in plans], tallies, "measuring", progress)
    return [
        tally.evaluation(
            model=model.card.name,
            dataset=name or dataset.name,
            plan="own" if plan is None else str(plan),
            ratio=sum(ratios) / len(ratios),
            uniform=len(set(ratios)) == 1,
            images=len(dataset),
            classes=model.class_names,
            **spent,
        )
        for plan, ratios, tally, spent in zip(plans, flat, tallies, times, strict=True)
    ]


def evaluate_peer(peer: Peer, dataset: Dataset, name: str | None = None, progress: Progress = SILENT) -> Evaluation:
    """Measures another project's detector on the same data and classes; arguments and errors as for `evaluate`."""
    classes = tuple(c.name for c in dataset.classes)
    unknown = [c for c in dataset.scored if c not in peer.class_names]
    if unknown:
        raise DatasetError(f"{peer.name} does not know {unknown} of {dataset.name}; it knows {list(peer.class_names)}")
    task = measured_task(peer.task)
    tally = _tally(task, peer.name, classes, dataset)
    (times,) = _measure(
        dataset, [lambda frame: peer(frame, task.least_score)], [tally], f"measuring {peer.name}", progress
    )
    return tally.evaluation(
        model=peer.name,
        dataset=name or dataset.name,
        plan="own",
        ratio=0.0,
        uniform=True,
        images=len(dataset),
        classes=classes,
        **times,
    )


def _measure(
    dataset: Dataset,
    runs: Sequence[Callable[[np.ndarray], Result]],
    tallies: Sequence[Tally[Any]],
    title: str,
    progress: Progress,
) -> list[dict[str, float]]:
    """Counts every frame; median `Evaluation.inference_ms` and `Evaluation.total_ms` of each run."""
    times: list[list[tuple[float, float]]] = [[] for _ in runs]
    for index in track(range(len(dataset)), title, progress):
        sample = dataset[index]
        for run, tally, spent in zip(runs, tallies, times, strict=True):
            result = run(sample.image)
            tally.add(index, sample, result)
            spent.append((result.timings.inference_ms, result.timings.total_ms))
    return [_medians(spent) for spent in times]


def _medians(times: Sequence[tuple[float, float]]) -> dict[str, float]:
    inference, total = (sorted(column) for column in zip(*times, strict=True))
    middle = len(times) // 2
    return {"inference_ms": inference[middle], "total_ms": total[middle]}


def _tally(task: Task, model: str, class_names: tuple[str, ...], dataset: Dataset) -> Tally[Any]:
    """Checks that model and data belong together."""
    tally = task.tally(model, dataset)
    expected = tuple(c.name for c in dataset.classes)
    if expected != class_names:
        raise DatasetError(
            f"{dataset.name} has classes {list(expected)}, {model} predicts {list(class_names)}; "
            "evaluate on data with the model's classes in the model's order"
        )
    return tally
