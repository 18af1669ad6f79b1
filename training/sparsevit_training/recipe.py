"""The training recipe: one YAML file, validated as a whole before anything is read or computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from sparsevit_runtime.files import read_bounded

from . import tasks
from .recipe_parts import (
    AugmentationRecipe,
    ClassBiasRecipe,
    CropRecipe,
    InputRecipe,
    LossRecipe,
    ModelRecipe,
    MonitorRecipe,
    OptimizerRecipe,
    Part,
    PlanRecipe,
    RecipeError,
    ScheduleRecipe,
    TeacherRecipe,
    TrainingData,
)

#: No recipe is as large.
_MOST_BYTES = 16 << 20


class Recipe(Part):
    """A complete training run.

    Attributes:
        name: name of the run and of its folder.
        task: one that can be trained, see `tasks`.
        seed: seed of everything random.
        output: folder of checkpoints and log.
        save_every_minutes: wall-clock time between checkpoints.
        precision: ``auto`` is bf16 autocast where the device is fast at it, else fp16 with a scaled loss on a GPU and
            fp32 on a CPU.
        threads: threads of the computation on the CPU; None takes all cores.
        workers: processes that make batches ahead of the step, for a GPU that would wait for them; the batches are the
            same with any number.
        tensorboard: write the log for TensorBoard too, beside the CSV file.
    """

    name: str
    task: str = tasks.DEFAULT
    seed: int = Field(default=0, ge=0)
    output: Path
    input: InputRecipe
    model: ModelRecipe = ModelRecipe()
    data: tuple[TrainingData, ...] = Field(min_length=1)
    crops: tuple[CropRecipe, ...] = Field(min_length=1)
    augmentation: AugmentationRecipe = AugmentationRecipe()
    plans: PlanRecipe = PlanRecipe()
    loss: LossRecipe = LossRecipe()
    teacher: TeacherRecipe | None = None
    optimizer: OptimizerRecipe = OptimizerRecipe()
    schedule: ScheduleRecipe
    monitor: MonitorRecipe = MonitorRecipe()
    class_bias: ClassBiasRecipe | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    workers: int = Field(default=0, ge=0)
    cache_mb: int = Field(default=2048, ge=0)
    save_every_minutes: float = Field(default=5.0, gt=0)
    log_every: int = Field(default=20, ge=1)
    tensorboard: bool = False
    data_note: str = ""
    licence_note: str = ""

    @field_validator("task")
    @classmethod
    def _task_is_known(cls, name: str) -> str:
        tasks.trained_task(name)
        return name

    @model_validator(mode="after")
    def _suits_its_task(self) -> Recipe:
        task = tasks.trained_task(self.task)
        for name, asked, can in (
            ("loss.importance", self.loss.importance, "weighs_pixels"),
            ("class_bias", self.class_bias, "tunes_classes"),
            ("monitor.agreement", self.monitor.agreement, "watches_agreement"),
        ):
            if asked and not getattr(task, can):
                those = " and ".join(t.name for t in tasks.trained_tasks() if getattr(t, can))
                raise ValueError(f"{name} is for {those}: no other task has it")
        if self.model.head not in task.heads:
            raise ValueError(
                f"model.head is {self.model.head!r}; {task.name} is trained with {' or '.join(task.heads)}"
            )
        task.check_recipe(self)
        return self


def load_recipe(path: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Reads a YAML recipe.

    Args:
        path: the file. Relative paths inside it are relative to the current folder, as on a command line.
        overrides: dotted keys to values, e.g. ``{"schedule.steps": 100, "data.0.root": "/data/camvid"}``.

    Raises:
        RecipeError: unreadable, not YAML, or not a valid recipe; says which key is wrong.
    """
    try:
        document = yaml.safe_load(read_bounded(path, _MOST_BYTES).decode())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise RecipeError(f"recipe {path} is not readable YAML ({error})") from error
    if not isinstance(document, dict):
        raise RecipeError(f"recipe {path} holds {type(document).__name__}; expected keys and values")
    for key, value in (overrides or {}).items():
        _assign(document, key, value)
    return parse_recipe(document, str(path))


def parse_recipe(document: dict[str, Any], origin: str = "the recipe") -> Recipe:
    """Validates a recipe given as plain dictionaries; raises RecipeError as `load_recipe`."""
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc'])) or '(recipe)'}: {e['msg']}" for e in error.errors()[:5]]
        raise RecipeError(f"{origin} has {error.error_count()} problem(s):\n" + "\n".join(lines)) from error


def changed_keys(before: Recipe, after: Recipe) -> list[str]:
    """Top-level keys whose values differ, leaving out where and how fast a run takes place."""
    places = {"output", "device", "threads", "workers", "cache_mb", "precision", "tensorboard"}
    places |= {"save_every_minutes", "log_every"}
    return [k for k in type(after).model_fields if k not in places and getattr(before, k) != getattr(after, k)]


def _assign(document: dict[str, Any], key: str, value: object) -> None:
    *parents, last = key.split(".")
    node: Any = document
    try:
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        if isinstance(node, list):
            node[int(last)] = value
        else:
            node[last] = value
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise RecipeError(f"override {key!r} does not lead to a value of the recipe ({error})") from error
