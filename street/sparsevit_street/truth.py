"""What a rendered frame shows, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Truth:
    """The answer to a rendered frame.

    Attributes:
        label_map: (H, W) uint8 class ids.
        xyxy: (N, 4) float32 boxes around the visible pixels of each object, in frame pixels.
        class_id: (N,) int64 class of each box, in the order of the label map's ids.
    """

    label_map: np.ndarray
    xyxy: np.ndarray
    class_id: np.ndarray
