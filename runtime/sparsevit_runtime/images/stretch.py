"""Stretching: a frame of any size to exactly the model's input, each axis by itself, as mmdet's `keep_ratio=False`."""

from __future__ import annotations

import cv2
import numpy as np

from .placement import Placement


class Stretch(Placement):
    """A frame scaled to the whole input: no borders, and the aspect is the input's.

    Always ``cv2.INTER_LINEAR``, however much the frame shrinks: models made for it have learnt from such pictures.
    """

    __slots__ = ()

    def _fit(self) -> tuple[int, int]:
        height, width = self.input_hw
        return width, height

    def _scale(self, image: np.ndarray, target: np.ndarray) -> None:
        cv2.resize(image, (target.shape[1], target.shape[0]), dst=target, interpolation=cv2.INTER_LINEAR)
