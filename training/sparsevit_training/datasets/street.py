"""Frames of the synthetic street camera with their exact label maps."""

from __future__ import annotations

import numpy as np

from sparsevit_runtime.progress import SILENT, Progress, track
from sparsevit_street import StreetScene
from sparsevit_street.classes import STREET_CLASSES

from .base import ClassInfo, Dataset, Sample


class SyntheticStreet(Dataset):
    """Rendered frames of several streets, rendered once and kept.

    Args:
        scenes: number of streets; building one takes far longer than rendering a frame of it.
        frames_per_scene: moments taken from each, at random.
        size_wh: pixels.
        seed: seed of the first street; the next ones count up.
        span: moments lie among the first so many frames of a street.
        progress: see `CachedSamples`.
    """

    def __init__(
        self,
        scenes: int,
        frames_per_scene: int,
        size_wh: tuple[int, int],
        seed: int,
        span: int = 600,
        progress: Progress = SILENT,
    ) -> None:
        self.name = "synthetic street"
        self.classes = tuple(ClassInfo(name, color) for name, color in STREET_CLASSES)
        moments = np.random.default_rng(seed).integers(0, span, (scenes, frames_per_scene))
        self._samples = []
        numbered = list(enumerate(moments.tolist(), start=seed))
        for scene_seed, row in track(numbered, "rendering streets", progress):
            scene = StreetScene(size_wh, scene_seed)
            for moment in row:
                image, truth = scene.render(moment)
                self._samples.append(Sample(image, truth.label_map, f"street seed {scene_seed} frame {moment}"))

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]
