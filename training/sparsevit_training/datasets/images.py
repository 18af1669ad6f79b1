"""Unlabelled images from folders and video clips, for distillation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from sparsevit_runtime.errors import DatasetError
from sparsevit_runtime.progress import SILENT, Progress
from sparsevit_runtime.texts import shown

from .base import CachedSamples, Dataset, Sample, SkippedSample, decode
from .semantic_folder import IMAGE_SUFFIXES

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".gif", ".webm")


class UnlabelledImages(Dataset):
    """Images and spread-out frames of clips.

    Args:
        paths: image files, video files, or folders of either (not recursive).
        frames_per_clip: frames taken from each video, evenly spread over it.
        longest_side: larger images are reduced to this, in pixels, to bound memory.
        cache_mb: decoded images kept in memory, MiB. Clip frames are always kept: seeking is slow and inexact.
        progress: see `CachedSamples`.

    Raises:
        DatasetError: nothing readable.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        frames_per_clip: int = 48,
        longest_side: int = 960,
        cache_mb: int = 2048,
        progress: Progress = SILENT,
    ) -> None:
        self.name = "unlabelled"
        self._longest_side = longest_side
        files: list[Path] = []
        for path in map(Path, paths):
            try:
                files += sorted(path.iterdir()) if path.is_dir() else [path]
            except OSError as error:
                raise DatasetError(f"{shown(str(path))} cannot be read ({error.strerror})") from error
        unreadable: list[SkippedSample] = []
        keys: list = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
        for clip in (p for p in files if p.suffix.lower() in VIDEO_SUFFIXES):
            frames = self._frames(clip, frames_per_clip)
            keys += [(f"{clip.name}#{i}", frame) for i, frame in frames]
            if not frames:
                unreadable.append(SkippedSample(str(clip), "no frame of it can be decoded"))
                log.warning("skipped %s: %s", clip, unreadable[-1].reason)
        self._samples = CachedSamples(keys, self._read, cache_mb, progress)
        self.skipped = (*unreadable, *self._samples.skipped)
        if not len(self._samples):
            raise DatasetError(
                f"no readable image or clip in {[str(p) for p in paths]}; expected files or folders with "
                f"{', '.join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)}"
            )

    def _frames(self, clip: Path, count: int) -> list[tuple[int, np.ndarray]]:
        capture = cv2.VideoCapture(str(clip))
        try:
            total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            step = max(1, total // count) if total > 0 else 10
            frames: list[tuple[int, np.ndarray]] = []
            index = 0
            while len(frames) < count and capture.grab():
                if index % step == 0:
                    decoded, frame = capture.retrieve()
                    if decoded:
                        frames.append((index, self._bounded(frame)))
                index += 1
        finally:
            capture.release()
        return frames

    def _bounded(self, image: np.ndarray) -> np.ndarray:
        scale = self._longest_side / max(image.shape[:2])
        return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)

    def _read(self, key: Path | tuple[str, np.ndarray]) -> Sample:
        if isinstance(key, tuple):
            name, image = key
            return Sample(image, None, name)
        return Sample(self._bounded(decode(key)), None, key.name)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]
