"""Tasks: what a model's answers mean. One module each; the model card names the task."""

from __future__ import annotations

from ..card import ModelCard
from ..errors import CardError
from .backbone import BackboneTask
from .base import Task
from .detection import DetectionTask
from .instances import InstancesTask
from .results import Result, Timings
from .segmentation import SegmentationTask

__all__ = ["Result", "Task", "Timings", "known_tasks", "register", "task_of"]

_TASKS: dict[str, type[Task]] = {}


def register(task: type[Task]) -> type[Task]:
    """Makes a task known by its name, in place of one of that name; usable as a decorator."""
    _TASKS[task.name] = task
    return task


def known_tasks() -> tuple[str, ...]:
    """Names of all tasks."""
    return tuple(_TASKS)


def task_of(card: ModelCard) -> Task:
    """The task of a model.

    Raises:
        CardError: no task of that name is known, or the card has what its task cannot have.
    """
    if card.task not in _TASKS:
        raise CardError(
            f"{card.name} is a model for the task {card.task!r}, which this version does not know; it knows "
            f"{', '.join(_TASKS)}. Upgrade sparsevit-edge"
        )
    task = _TASKS[card.task](card)
    if len(card.classes) > task.most_classes:
        raise CardError(
            f"{card.name} is invalid: classes: {len(card.classes)} of them, a model for {card.task} has at most "
            f"{task.most_classes}; export the model again"
        )
    if len(card.classes) < task.least_classes:
        raise CardError(
            f"{card.name} is invalid: classes: none, a model for {card.task} has at least {task.least_classes}; export "
            "the model again"
        )
    return task


for _task in (SegmentationTask, DetectionTask, BackboneTask, InstancesTask):
    register(_task)
