"""Sparsity-aware adaptation: training with another random plan at every step.

Afterwards one set of weights serves every sparsity (Chen et al., "SparseViT", CVPR 2023, section 3.3).
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn

from sparsevit_exporter.backbone import SparseViT
from sparsevit_exporter.checkpoints.yolox import load_front
from sparsevit_runtime.errors import CheckpointError, DatasetError, SinkError, SparseViTError
from sparsevit_runtime.progress import SILENT, Progress

from .batch import Batch, normalize
from .batches import BatchMaker, common_classes
from .checkpoint import load_for_resume, model_document, save_whole, start_from
from .datasets import Dataset, open_dataset
from .ema import ModelEma
from .freezing import freeze
from .importance import importance_loss, stage_inputs
from .models import TrainedModel, head_names
from .optimizer import build_optimizer
from .recipe import Recipe, TrainingData, changed_keys
from .recipe_parts import ClassBiasRecipe
from .schedule import Schedule
from .tasks import trained_task
from .tasks.evaluation import metric_key
from .teacher import FeatureDistillation, Teacher
from .training_log import Averages, TrainingLog

log = logging.getLogger(__name__)

#: Steps in a row without a finite loss after which a run gives up.
MAX_BAD_STEPS = 20
#: Batches, the first of the run, by which a network is grown on a pretrained front.
GROWN_ON = 8


class TrainingError(SparseViTError):
    """Training cannot go on."""


def adapt(recipe: Recipe, resume: bool = True, progress: Progress = SILENT, stop_at: int | None = None) -> Path:
    """Runs a recipe to its end, or goes on where an earlier run of it stopped.

    Writes ``last.pth`` (everything, to go on from), ``model.pth`` (averaged weights, for the exporter) and ``log.csv``
    into the recipe's output folder; both checkpoints are replaced as a whole, at intervals and at the end.

    Args:
        recipe: validated, see `recipe.load_recipe`.
        resume: go on from ``last.pth`` when there is one; False starts over.
        progress: listener, told the samples read, then per cent of the training, with step, loss and scores.
        stop_at: stop, with a checkpoint, before this step.

    Returns:
        Path of ``model.pth``.

    Raises:
        DatasetError: data missing, empty, of another task or mismatched.
        CheckpointError: ``last.pth`` is damaged or of another model.
        FreezingError: the network has no such parts to keep.
        SinkError: the output folder cannot be written.
        TrainingError: the device is not there, the loss is not finite for many steps in a row or at the end, or the
            budget ends before the first step.
    """
    return Adaptation(recipe, resume, progress).run(stop_at)


class Adaptation:
    """One session of a run; arguments as for `adapt`."""

    def __init__(self, recipe: Recipe, resume: bool = True, progress: Progress = SILENT) -> None:
        self.recipe = recipe
        self.progress = progress
        self.device = choose_device(recipe.device)
        self.dtype = choose_autocast(recipe.precision, self.device)
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        cv2.setNumThreads(1)
        make_folder(recipe.output)
        self._last = recipe.output / "last.pth"
        self._exportable = recipe.output / "model.pth"

        self.task = trained_task(recipe.task)
        self.objective = self.task.objective(recipe)
        self.datasets = [self._open(d) for d in recipe.data]
        self.classes = common_classes(self.datasets)
        check_rare_classes(recipe, len(self.classes))
        self.monitored: Dataset | None = None
        if recipe.monitor.data is not None:
            self.monitored = self._open(recipe.monitor.data)
            common_classes([self.datasets[0] if self.datasets[0].classes else self.monitored, self.monitored])

        self.schedule = Schedule(recipe.schedule)
        teacher = Teacher(recipe.teacher, recipe.threads) if recipe.teacher else None
        self.batches = BatchMaker(
            recipe, self.objective, self.datasets, lambda step: self.schedule.progress(step), teacher
        )
        self._build()
        self.step = 0
        self.metrics: list[dict] = []
        self._bad_in_a_row = 0
        self._start_over = not resume
        if resume and self._last.exists():
            self._restore()

    def _open(self, data: TrainingData) -> Dataset:
        dataset = open_dataset(data, self.recipe.cache_mb, self.progress, self.task.learns_from)
        self.objective.check(dataset)
        return dataset

    def _build(self) -> None:
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        self.model = build_model(recipe, len(self.classes))
        fresh = (
            () if recipe.model.start is None or start_from(self.model, recipe.model.start) else head_names(self.model)
        )
        self._frozen = freeze(self.model, recipe.model.frozen, fresh)
        if recipe.model.front_weights is not None and recipe.model.start is None:
            self.objective.grow(self.model, self.classes, (self.batches.make(step) for step in range(GROWN_ON)))
        self.model.to(self.device)
        norms = (m for m in self.model.modules() if isinstance(m, nn.BatchNorm2d))
        self._statistics = [buffer for norm in norms for buffer in norm.buffers()]
        self.distillation: FeatureDistillation | None = None
        if recipe.teacher is not None and self.batches.teacher_channels:
            first = recipe.teacher.first_stage
            channels = self.model.backbone.channels[first : first + len(self.batches.teacher_channels)]
            self.distillation = FeatureDistillation(channels, self.batches.teacher_channels).to(self.device)
        self.objective.prepare(self.datasets, self.classes, self.device)
        self.ema = ModelEma(self.model, recipe.optimizer.ema_decay)
        self.optimizer = build_optimizer([self.model, self.distillation], recipe)
        # Small gradients vanish in fp16 unless the loss is scaled up; other types need no scale.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)

    def run(self, stop_at: int | None = None) -> Path:
        """Trains up to the end, or to `stop_at`; returns the path of the exportable checkpoint."""
        recipe = self.recipe
        if self._start_over:  # what is left of an earlier run must not be gone on with, should this one be killed
            self._last.unlink(missing_ok=True)
            self._exportable.unlink(missing_ok=True)
        self.schedule.begin()
        end = recipe.schedule.steps if stop_at is None else min(stop_at, recipe.schedule.steps)
        columns = ["step", "progress", "lr", "loss", *self.objective.terms, "distillation", "self_distillation"]
        columns += ["importance", "pruned", "step_s", "elapsed_s"]
        columns += [self._column(r) for r in recipe.monitor.ratios]
        columns += [self._alike(r) for r in recipe.monitor.ratios if recipe.monitor.agreement]
        csv_log = TrainingLog(recipe.output / "log.csv", columns, self.step, recipe.tensorboard)
        window = Averages()
        saved_s = window_s = self.schedule.elapsed_s
        self.progress.start(f"{recipe.name}, %", 100)
        note, said = "", f"going on at step {self.step}" if self.step else ""
        try:
            ahead = self.device.type != "cpu"
            for step, batch in self.batches.stream(self.step, end, ahead, recipe.workers):
                if batch.progress >= 1.0:
                    break
                self._train_step(step, batch, window)
                self.step = step + 1
                elapsed = self.schedule.elapsed_s
                scores: dict[str, float] = {}
                if self.monitored is not None and self.step % recipe.monitor.every_steps == 0:
                    scores = self._measure(self.monitored)
                    note = " ".join(f"{k} {v:.1f}" for k, v in scores.items())
                if scores or self.step % recipe.log_every == 0:
                    means = window.take()
                    step_s = (elapsed - window_s) / max(means.pop("count"), 1)
                    window_s = self.schedule.elapsed_s
                    csv_log.write(
                        step=step,
                        progress=batch.progress,
                        lr=self.optimizer.param_groups[0]["lr"],
                        step_s=step_s,
                        elapsed_s=elapsed,
                        **means,
                        **scores,
                    )
                    said = f"step {self.step}  loss {means['loss']:.3f}  {note}"
                self.progress.advance(100 * self.schedule.progress(self.step), said)
                if elapsed - saved_s > 60 * recipe.save_every_minutes:
                    self.save()
                    saved_s = elapsed
        finally:
            csv_log.close()
            if self.step:
                self.save()
        if self.step and recipe.class_bias is not None and self.schedule.progress(self.step) >= 1.0:
            self._tune_classes(recipe.class_bias)
        if not self.step:
            raise TrainingError(
                f"the budget of {recipe.schedule.budget_minutes} minutes ended before the first step; raise "
                "schedule.budget_minutes"
            )
        if self._bad_in_a_row:
            raise TrainingError(
                f"the last {self._bad_in_a_row} steps had no finite loss; {self._exportable} is of before them, where "
                "it was saved. Lower optimizer.lr, or set precision to fp32, and run it again"
            )
        return self._exportable

    def _train_step(self, step: int, batch: Batch, window: Averages) -> None:
        recipe = self.recipe
        factor = self.schedule.lr_factor(step, batch.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.optimizer.lr * group.get("lr_scale", 1.0) * factor
        torch.manual_seed((recipe.seed * 1_000_003 + step) % 2**31)  # stochastic depth, the same after a resume
        self.model.train()
        for module in self._frozen:
            module.eval()
        statistics = [b.clone() for b in self._statistics]  # a forward pass moves them
        images = normalize(batch.images.to(self.device), recipe.input.mean, recipe.input.std)
        distilled = torch.zeros((), device=self.device)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            with stage_inputs(self.model.backbone) as inputs:
                maps = self.model.backbone(images, keep=batch.keep)
            predictions = self.objective.predict(self.model, maps)
            if self.distillation is not None and recipe.teacher is not None and batch.targets is not None:
                first = recipe.teacher.first_stage
                targets = [t.to(self.device) for t in batch.targets.features]
                distilled = self.distillation(maps[first : first + len(targets)], targets)
        terms = self.objective.losses(predictions, batch)
        weight = _between(recipe.teacher.weight, recipe.teacher.final_weight, batch.progress) if recipe.teacher else 0.0
        pruned = batch.keep is not None
        matched = self._match_dense(images, predictions) if pruned else torch.zeros((), device=self.device)
        important = self._weigh_windows(inputs, batch)
        loss = sum(terms.values()) + weight * distilled
        loss = loss + recipe.loss.self_distillation * matched + recipe.loss.importance * important
        self.optimizer.zero_grad(set_to_none=True)
        if not torch.isfinite(loss):
            for buffer, before in zip(self._statistics, statistics, strict=True):
                buffer.copy_(before)
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= MAX_BAD_STEPS:
                raise TrainingError(
                    f"the loss was not finite for {MAX_BAD_STEPS} steps up to step {step}; lower optimizer.lr, or set "
                    "precision to fp32, and resume from the last checkpoint"
                )
            return
        self._bad_in_a_row = 0
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, recipe.optimizer.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update(self.model)
        window.add(
            loss=loss,
            **terms,
            distillation=distilled,
            self_distillation=matched,
            importance=important,
            pruned=batch.pruned,
        )

    def _weigh_windows(self, inputs: list[torch.Tensor], batch: Batch) -> torch.Tensor:
        """Distance of the windows' scores from what their pixels weigh in the loss."""
        loss, model = self.recipe.loss, self.recipe.model
        if not loss.importance:
            return torch.zeros((), device=self.device)
        weights = self.objective.pixel_weights(batch)
        return importance_loss(inputs, weights, model.window_size, model.depths, batch.keep, loss.passed_over)

    def _match_dense(self, images: torch.Tensor, predictions: Any) -> torch.Tensor:
        """Distance of a pruned pass to the averaged weights' dense pass over the same images."""
        if not self.recipe.loss.self_distillation:
            return torch.zeros((), device=self.device)
        with torch.no_grad(), torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            dense = self.objective.answer(self.ema.model, images)
        return self.objective.match_dense(predictions, dense)

    def _measure(self, monitored: Dataset) -> dict[str, float]:
        found = self.objective.scores(self.ema.model, monitored, self.recipe.monitor.ratios, self.dtype)
        name = f"{monitored.name} monitor"
        self.metrics = [
            {"name": self.task.metric, "dataset": name, "ratio": r, "value": 100 * v, "unit": "%"}
            for r, v in found.items()
        ]
        scores = {self._column(r): 100 * v for r, v in found.items()}
        if self.recipe.monitor.agreement:
            alike = self.objective.agreement(self.ema.model, monitored, self.recipe.monitor.ratios, self.dtype)
            scores |= {self._alike(r): 100 * v for r, v in alike.items()}
        return scores

    def _column(self, ratio: float) -> str:
        return f"{metric_key(self.task.metric)}_{round(100 * ratio)}"

    def _alike(self, ratio: float) -> str:
        return f"agreement_{round(100 * ratio)}"

    def _tune_classes(self, recipe: ClassBiasRecipe) -> None:
        """Writes ``model.pth`` anew, its classifier with tuned biases."""
        model = copy.deepcopy(self.ema.model)
        head: Any = model.head
        with torch.no_grad():
            bias = self.objective.class_bias(model, self.datasets, recipe, self.dtype)
            head.classify.bias += bias.to(self.device)
        log.info("biases of the classes: %s", ", ".join(f"{c.name} {b:+.2f}" for c, b in zip(self.classes, bias)))
        save_whole(self._document(model), self._exportable)

    def _document(self, model: TrainedModel) -> dict:
        about = {"steps": self.step, "seed": self.recipe.seed}
        return model_document(model, self.classes, self.recipe, about, self.metrics)

    def save(self) -> None:
        """Writes both checkpoints; not while the loss is not finite, for then the weights may not be either."""
        if self._bad_in_a_row:
            return
        document = self._document(self.ema.model)
        save_whole(document, self._exportable)
        resume = {
            "step": self.step,
            "elapsed_s": self.schedule.elapsed_s,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "distillation": self.distillation.state_dict() if self.distillation is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "metrics": self.metrics,
            "recipe": self.recipe.model_dump_json(),
        }
        save_whole({**document, "resume": resume}, self._last)

    def _restore(self) -> None:
        document = load_for_resume(self._last, self.device)
        state = document["resume"]
        try:
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            if self.distillation is not None:
                self.distillation.load_state_dict(state["distillation"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state.get("scaler", {}))
        except (RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(
                f"{self._last} belongs to another model or recipe ({error}); give the run another output folder, or "
                "start over"
            ) from error
        changed = changed_keys(Recipe.model_validate_json(state["recipe"]), self.recipe)
        if changed:
            log.warning("%s was started with another recipe; changed since: %s", self._last, ", ".join(changed))
        self.step = state["step"]
        self.metrics = state["metrics"]
        self.schedule = Schedule(self.recipe.schedule, state["elapsed_s"])
        log.info("resumed %s at step %d", self._last, self.step)


def build_model(recipe: Recipe, num_classes: int) -> TrainedModel:
    """The network of a recipe with fresh weights."""
    m = recipe.model
    backbone = SparseViT(m.embed_dim, m.depths, m.num_heads, m.window_size, m.drop_path_rate, m.front_width)
    if backbone.front is not None and m.front_weights is not None:
        load_front(backbone.front, m.front_weights, recipe.input.mean, recipe.input.std)
    return trained_task(recipe.task).objective(recipe).build(backbone, num_classes)


def choose_device(name: str) -> torch.device:
    """``auto``: CUDA when there is one; otherwise what PyTorch makes of the name.

    Raises:
        TrainingError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"there is no device {name!r} here ({reason}); set device to cpu, cuda or auto") from error
    return device


def make_folder(path: Path) -> None:
    """Makes the output folder. Raises SinkError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"cannot make the folder {path} ({error.strerror}); name another `output`") from error


def check_rare_classes(recipe: Recipe, count: int) -> None:
    """Raises DatasetError where the recipe names a class that the data does not have."""
    wrong = [i for i in recipe.augmentation.rare_classes if not 0 <= i < count]
    if wrong:
        raise DatasetError(f"augmentation.rare_classes has {wrong}, the data has classes 0 to {count - 1}")


def choose_autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """Autocast type: ``auto`` is bf16 where the hardware multiplies it, else fp16 on a GPU and None (fp32) on a CPU."""
    if precision == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        supported = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if supported else None
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)


def _between(start: float, end: float, progress: float) -> float:
    return start + (end - start) * progress
