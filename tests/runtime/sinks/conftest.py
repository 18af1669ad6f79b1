from __future__ import annotations

import numpy as np
import pytest

from sparsevit_runtime.tasks.detection import Detections


@pytest.fixture
def result_of():
    """Makes the result of frame `index`: one box, as a model would give it; its time is that of a source of
    `fps` frames per second, or `at_s`."""

    def make(
        index: int = 0, image_wh: tuple[int, int] = (64, 48), fps: float = 25.0, at_s: float | None = None
    ) -> Detections:
        return Detections(
            image_wh=image_wh,
            frame_index=index,
            timestamp_ns=round((index / fps if at_s is None else at_s) * 1e9),
            xyxy=np.array([[1, 2, 30, 40]], np.float32),
            confidence=np.array([0.5], np.float32),
            class_id=np.array([1], np.int64),
            names=("car", "person"),
        )

    return make


@pytest.fixture
def picture():
    """Makes a frame of one grey value."""

    def make(value: int = 0, size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
        return np.full((size_wh[1], size_wh[0], 3), value, np.uint8)

    return make
