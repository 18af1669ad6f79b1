"""Batches as a pure function of the recipe and the step.

Nothing is drawn from a running generator: step n of a resumed run sees the very batch, crop size and plan that it would
have seen without the break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.windows.geometry import stage_geometries

from .augmentation import jitter_colors
from .batch import Batch
from .datasets import ClassInfo, Dataset, Sample
from .objectives.base import Objective
from .plan_sampler import keep_of_ratios, sample_ratios
from .recipe import Recipe
from .teacher import Teacher


def common_classes(datasets: Sequence[Dataset]) -> tuple[ClassInfo, ...]:
    """The classes of the labelled data sets.

    Raises:
        DatasetError: none is labelled, or they disagree.
    """
    labelled = [d for d in datasets if d.classes]
    if not labelled:
        raise DatasetError("no data set of the recipe has labels; add one with labels to `data`")
    first = labelled[0]
    for other in labelled[1:]:
        expected, found = [c.name for c in first.classes], [c.name for c in other.classes]
        if expected != found:
            raise DatasetError(
                f"{other.name} has classes {found}, {first.name} has {expected}; data sets that are mixed must "
                "list the same classes in the same order"
            )
    return first.classes


class BatchMaker:
    """Makes the batch of any step.

    Args:
        recipe: recipe of the run.
        objective: makes the views and collates their truth.
        datasets: one per entry of `recipe.data`.
        progress_of: progress of the training at a step, 0..1.
        teacher: optional; calibrated here.
    """

    def __init__(
        self,
        recipe: Recipe,
        objective: Objective,
        datasets: Sequence[Dataset],
        progress_of: Callable[[int], float],
        teacher: Teacher | None = None,
    ) -> None:
        self._recipe = recipe
        self._objective = objective
        self._datasets = list(datasets)
        self._progress_of = progress_of
        self._teacher = teacher
        self.teacher_channels: list[int] = []
        if teacher is not None:
            rng = np.random.default_rng([recipe.seed, 2])
            crop = recipe.crops[0].height, recipe.crops[0].width
            views = [self._view(rng, crop, 0.0)[0] for _ in range(32)]
            self.teacher_channels = teacher.calibrate(np.stack(views))

    def make(self, step: int) -> Batch:
        """The batch of this step."""
        recipe = self._recipe
        progress = self._progress_of(step)
        rng = np.random.default_rng([recipe.seed, 1, step])
        crops = [c for c in recipe.crops if c.since <= progress <= c.until] or list(recipe.crops)
        crop = crops[_weighted(rng, [c.share for c in crops])]
        size = crop.height, crop.width
        views = [self._view(rng, size, progress) for _ in range(crop.batch)]
        images = np.stack([jitter_colors(image, recipe.augmentation, rng) for image, _ in views])
        ratios = sample_ratios(recipe.model.depths, recipe.plans, rng, progress)
        stages = stage_geometries(*size, recipe.model.depths, recipe.model.window_size)
        flat = [r for stage in ratios for r in stage]
        return Batch(
            images=torch.from_numpy(images),
            labels=self._objective.collate([truth for _, truth in views]),
            targets=self._teacher(images) if self._teacher else None,
            keep=keep_of_ratios(ratios, stages),
            pruned=sum(flat) / len(flat),
            progress=progress,
        )

    def _view(self, rng: np.random.Generator, size: tuple[int, int], progress: float) -> tuple[np.ndarray, Any]:
        def draw(labelled_only: bool = False) -> Sample:
            pool = [
                (d, e.share)
                for d, e in zip(self._datasets, self._recipe.data, strict=True)
                if progress <= e.until and (d.classes or not labelled_only)
            ]
            if not pool:
                raise DatasetError(
                    f"no data set is left at progress {progress:.2f} (all have `until` below it); "
                    "raise `until` of a labelled one to 1"
                )
            dataset = pool[_weighted(rng, [share for _, share in pool])][0]
            return dataset[int(rng.integers(len(dataset)))]

        return self._objective.view(draw, size, rng)

    def stream(self, first: int, end: int, ahead: bool, workers: int = 0) -> Iterator[tuple[int, Batch]]:
        """Batches of steps `first` to `end` - 1.

        Args:
            first, end: steps.
            ahead: make the next batch in a thread while the caller works on this one. Right when the caller computes
                on a GPU; on a CPU the two would only fight for its cores.
            workers: processes that make batches ahead instead, each of them every n-th one.
        """
        if workers:
            yield from zip(range(first, end), self._loader(first, end, workers))
            return
        if not ahead:
            for step in range(first, end):
                yield step, self.make(step)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            if first < end:
                pending = pool.submit(self.make, first)
            for step in range(first, end):
                batch = pending.result()
                if step + 1 < end:
                    pending = pool.submit(self.make, step + 1)
                yield step, batch

    def _loader(self, first: int, end: int, workers: int) -> DataLoader:
        return DataLoader(
            _Steps(self.make),
            batch_size=None,  # a sample is a whole batch
            sampler=range(first, end),
            num_workers=workers,
            worker_init_fn=_use_one_thread,
            multiprocessing_context="fork",  # what is decoded already is shared, not copied
        )


class _Steps(torch.utils.data.Dataset[Batch]):
    """Batches by step, for a loader."""

    def __init__(self, make: Callable[[int], Batch]) -> None:
        self._make = make

    def __getitem__(self, step: int) -> Batch:
        return self._make(step)


def _use_one_thread(_: int) -> None:
    cv2.setNumThreads(0)  # the threads of the process before the fork are not there


def _weighted(rng: np.random.Generator, shares: Sequence[float]) -> int:
    edges = np.cumsum(shares)
    return int(np.searchsorted(edges, rng.random() * edges[-1], side="right").clip(0, len(edges) - 1))
