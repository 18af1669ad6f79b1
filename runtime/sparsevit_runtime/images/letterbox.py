"""Letterboxing: a frame of any size into the model's input, aspect kept, with grey borders."""

from __future__ import annotations

import cv2
import numpy as np

from .placement import Placement


class Letterbox(Placement):
    """A frame scaled to fit the input, centred, aspect kept.

    Shrinking by 2 or more halves the frame by area averages first (cheap, and nothing aliases); the rest is bilinear.
    """

    __slots__ = ()

    def _fit(self) -> tuple[int, int]:
        (frame_w, frame_h), (input_h, input_w) = self.frame_wh, self.input_hw
        scale = min(input_w / frame_w, input_h / frame_h)
        return min(input_w, max(1, round(frame_w * scale))), min(input_h, max(1, round(frame_h * scale)))

    def _scale(self, image: np.ndarray, target: np.ndarray) -> None:
        height, width = target.shape[:2]
        rows, columns = image.shape[:2]
        while rows >= 2 * height and columns >= 2 * width and rows % 2 == columns % 2 == 0:
            rows, columns = rows // 2, columns // 2
            image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        if image.shape == target.shape:
            np.copyto(target, image)
            return
        shrinks_much = rows > 2 * height or columns > 2 * width
        way = cv2.INTER_AREA if shrinks_much else cv2.INTER_LINEAR
        cv2.resize(image, (width, height), dst=target, interpolation=way)
