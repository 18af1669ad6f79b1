"""Masks of single objects over a picture: tinted with smooth edges, and outlined."""

from __future__ import annotations

import cv2
import numpy as np

from .pasting import MASK_THRESHOLD

#: Bytes of a strip of the picture that is worked on at a time.
_STRIP = 1 << 17


def tint_object(
    canvas: np.ndarray, image: np.ndarray, probabilities: np.ndarray, color: tuple[int, int, int], opacity: float
) -> None:
    """Tints an object's pixels in place, and hides what other objects tinted there.

    Args:
        canvas: (H, W, 3) uint8 BGR, the part of the picture where the object can be.
        image: the same part, untinted.
        probabilities: (H, W) float32.
        color: BGR.
        opacity: opacity of the tint, 0 to 1.
    """
    tint = tuple(opacity * channel for channel in color)
    rows = max(1, _STRIP // (3 * max(1, canvas.shape[1])))
    for y in range(0, len(canvas), rows):  # strips stay in the CPU's cache
        strip, share = canvas[y : y + rows], coverage(probabilities, y, rows)
        tinted = cv2.add(cv2.convertScaleAbs(image[y : y + rows], alpha=1 - opacity), (*tint, 0.0))
        strip[:] = cv2.blendLinear(strip, tinted, 1 - share, share)


def coverage(probabilities: np.ndarray, first: int, count: int) -> np.ndarray:
    """How much of each pixel an object covers, 0 to 1, (count, W) float32: its edge, where the probability passes the
    threshold, falls off over about a pixel, however wide the model's own edge is.

    Args:
        probabilities: (H, W) float32.
        first, count: rows asked for.
    """
    last = min(first + count, len(probabilities))
    above, below = max(0, first - 1), min(len(probabilities), last + 1)
    part = np.ascontiguousarray(probabilities[above:below])
    slope = cv2.magnitude(
        cv2.Sobel(part, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(part, cv2.CV_32F, 0, 1, scale=1 / 8)
    )
    distance = (part - MASK_THRESHOLD) / np.maximum(slope, 1e-6)  # pixels from the edge, inside above 0
    share: np.ndarray = np.clip(distance + 0.5, 0, 1)[first - above : last - above]
    return share


def outline_object(canvas: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], width: int) -> None:
    """Draws the borders of a mask in place.

    Args:
        canvas: (H, W, 3) uint8 BGR.
        mask: (H, W) bool of the same part of the picture.
        color: BGR.
        width: width of the line in pixels.
    """
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1)
    cv2.polylines(canvas, list(contours), True, color, width, cv2.LINE_AA)
