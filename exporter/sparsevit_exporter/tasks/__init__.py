"""Tasks: what differs between exporting a segmenter, a detector, and a backbone alone. One module each."""

from __future__ import annotations

from typing import Any

from torch import nn

from sparsevit_runtime.errors import CheckpointError, ExportError

from .backbone import BackboneTask
from .base import HeadConfig, Task
from .detection import DetectionTask
from .instances import InstancesTask
from .segmentation import SegmentationTask

__all__ = ["HeadConfig", "Task", "known_tasks", "register", "task_of"]

_TASKS: dict[str, type[Task[Any]]] = {}


def register(task: type[Task[Any]]) -> type[Task[Any]]:
    """Makes a task known by its name, in place of one of that name; usable as a decorator."""
    _TASKS[task.name] = task
    return task


def known_tasks() -> tuple[str, ...]:
    """Names of all tasks."""
    return tuple(_TASKS)


def task_of(network: nn.Module | str) -> Task[Any]:
    """The task of a network, or of the name that a checkpoint or a model card has.

    Raises:
        ExportError: no task has networks of that class.
        CheckpointError: no task of that name is known.
    """
    if isinstance(network, str):
        if network not in _TASKS:
            raise CheckpointError(
                f"its task is {network!r}, which this version does not know; it knows {', '.join(_TASKS)}. Upgrade "
                "sparsevit-edge, or register the task"
            )
        return _TASKS[network]()
    for task in _TASKS.values():
        if isinstance(network, task.network):
            return task()
    raise ExportError(
        f"{type(network).__name__} is the network of no known task ({', '.join(_TASKS)}); make it known with "
        "sparsevit_exporter.tasks.register"
    )


for _task in (SegmentationTask, DetectionTask, InstancesTask, BackboneTask):
    register(_task)
