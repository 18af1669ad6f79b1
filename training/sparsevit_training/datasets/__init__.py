"""Datasets: labelled folders, COCO boxes and masks, the synthetic street, unlabelled images."""

from __future__ import annotations

from typing import Literal

from sparsevit_runtime.progress import SILENT, Progress

from ..recipe_parts import CoarseFolderData, CocoData, SemanticFolderData, StreetData, TrainingData
from .base import FIRST_GROUP, IGNORE, Boxes, ClassInfo, Dataset, Sample, SkippedSample
from .coarse_folder import CoarseFolder
from .coco import BACKGROUND, CocoBoxes, CocoMasks
from .coco_instances import CocoInstances
from .images import UnlabelledImages
from .semantic_folder import SemanticFolder, read_classes
from .street import SyntheticStreet

__all__ = [
    "BACKGROUND",
    "FIRST_GROUP",
    "IGNORE",
    "Boxes",
    "ClassInfo",
    "CoarseFolder",
    "CocoBoxes",
    "CocoInstances",
    "CocoMasks",
    "Dataset",
    "LearnedFrom",
    "Sample",
    "SemanticFolder",
    "SkippedSample",
    "SyntheticStreet",
    "UnlabelledImages",
    "open_dataset",
    "read_classes",
]


#: What a task takes from COCO JSON: boxes, boxes with the mask of each, or one map that all masks are drawn into.
LearnedFrom = Literal["boxes", "masks", "label map"]


def open_dataset(
    recipe: TrainingData,
    cache_mb: int = 2048,
    progress: Progress = SILENT,
    learns_from: LearnedFrom = "boxes",
) -> Dataset:
    """Opens what a recipe describes.

    Args:
        recipe: an entry of `Recipe.data`, or the data of its monitor.
        cache_mb, progress: see `CachedSamples`.
        learns_from: what is taken from COCO JSON.

    Raises:
        DatasetError: DatasetError as the dataset's class does.
    """
    if isinstance(recipe, SemanticFolderData):
        return SemanticFolder(
            recipe.root,
            recipe.splits,
            recipe.void,
            every=recipe.every,
            offset=recipe.offset,
            exclude=recipe.exclude,
            cache_mb=cache_mb,
            progress=progress,
        )
    if isinstance(recipe, CoarseFolderData):
        return CoarseFolder(
            recipe.root,
            recipe.splits,
            recipe.groups,
            every=recipe.every,
            offset=recipe.offset,
            exclude=recipe.exclude,
            cache_mb=cache_mb,
            progress=progress,
        )
    if isinstance(recipe, CocoData):
        kind = {"boxes": CocoBoxes, "masks": CocoInstances, "label map": CocoMasks}[learns_from]
        options = {"background": recipe.background} if learns_from == "label map" else {}
        return kind(recipe.annotations, recipe.images, recipe.categories, cache_mb, progress, **options)
    if isinstance(recipe, StreetData):
        size_wh = recipe.width, recipe.height
        return SyntheticStreet(recipe.scenes, recipe.frames_per_scene, size_wh, recipe.seed, progress=progress)
    return UnlabelledImages(recipe.paths, recipe.frames_per_clip, cache_mb=cache_mb, progress=progress)
