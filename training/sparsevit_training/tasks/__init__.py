"""What differs between training a segmenter and training a detector."""

from __future__ import annotations

from ..recipe import Recipe
from .base import Task
from .detection import DetectionTask
from .segmentation import SegmentationTask

__all__ = ["Task", "open_task"]

_TASKS = {"segmentation": SegmentationTask, "detection": DetectionTask}


def open_task(recipe: Recipe) -> Task:
    """The task that a recipe names."""
    return _TASKS[recipe.task](recipe)
