"""Tasks: how their models are measured and trained. One module each; recipes and model cards name them."""

from __future__ import annotations

from sparsevit_runtime.errors import DatasetError

from ..recipe_parts import RecipeError
from .base import Task, TrainedTask
from .detection import DetectionTask
from .instances import InstancesTask
from .segmentation import SegmentationTask

__all__ = ["DEFAULT", "Task", "TrainedTask", "measured_task", "register", "trained_task", "trained_tasks"]

#: Task of a recipe that names none.
DEFAULT = SegmentationTask.name

_TASKS: dict[str, Task] = {}


def register(task: type[Task]) -> type[Task]:
    """Makes a task known by its name, in place of one of that name; usable as a decorator."""
    _TASKS[task.name] = task()
    return task


def measured_task(name: str) -> Task:
    """The task of a model that is to be measured.

    Raises:
        DatasetError: no task of that name has a metric.
    """
    if name not in _TASKS:
        raise DatasetError(f"there is no metric for a {name} model; evaluate one for {' or '.join(_TASKS)}")
    return _TASKS[name]


def trained_tasks() -> tuple[TrainedTask, ...]:
    """All tasks that a recipe can name."""
    return tuple(task for task in _TASKS.values() if isinstance(task, TrainedTask))


def trained_task(name: str) -> TrainedTask:
    """The task that a recipe names.

    Raises:
        RecipeError: no task of that name can be trained.
    """
    known = {task.name: task for task in trained_tasks()}
    if name not in known:
        raise RecipeError(f"there is no training for the task {name!r}; a recipe can name {' or '.join(known)}")
    return known[name]


for _task in (SegmentationTask, DetectionTask, InstancesTask):
    register(_task)
