"""Masks of objects in COCO JSON: polygons, and run lengths in both spellings."""

from __future__ import annotations

from typing import Any

import numpy as np

from .coco_fields import BadObject, is_number

#: Corners of a polygon may lie this many image sides outside; the rest are slips that would fill the memory.
_FARTHEST = 4


def read_mask(segmentation: Any, image_hw: tuple[int, int], *, may_be_empty: bool = False) -> np.ndarray:
    """(H, W) bool of polygons or run lengths. Raises BadObject where it is neither, or no pixel is left."""
    mask = _runs_mask(segmentation, image_hw) if isinstance(segmentation, dict) else _polygons(segmentation, image_hw)
    if not may_be_empty and not mask.any():
        raise BadObject("whose mask is empty")
    return mask


def _polygons(segmentation: Any, image_hw: tuple[int, int]) -> np.ndarray:
    from pycocotools import mask as coco

    height, width = image_hw
    if not isinstance(segmentation, list) or not all(isinstance(p, list) for p in segmentation):
        raise BadObject("without a mask")
    polygons = [p for p in segmentation if len(p) >= 6]
    if not polygons:
        raise BadObject("without a mask")
    if any(len(p) % 2 or not all(is_number(v) for v in p) for p in polygons):
        raise BadObject("whose polygon is not pairs of numbers")
    farthest = _FARTHEST * max(height, width)
    if any(not -farthest <= v <= farthest for p in polygons for v in p):
        raise BadObject("whose polygon reaches far out of the image")
    found = coco.decode(coco.merge(coco.frPyObjects(polygons, height, width)))
    return np.asarray(found, bool)


def _runs_mask(segmentation: dict[str, Any], image_hw: tuple[int, int]) -> np.ndarray:
    height, width = image_hw
    if segmentation.get("size") != [height, width]:
        raise BadObject("whose mask is of another size than the image")
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = _decompressed(counts)
    if not isinstance(counts, list) or not all(is_number(v) and v == int(v) and v >= 0 for v in counts):
        raise BadObject("whose run lengths are no run lengths")
    runs = [int(v) for v in counts]
    # pycocotools leaves the pixels that runs do not reach as the memory was
    if sum(runs) != height * width:
        raise BadObject("whose run lengths do not add up to the image")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _decompressed(text: str) -> list[int] | None:
    """Run lengths of COCO's text; None where it is none.

    Six bits a letter from "0" on: five of the value, lowest first, and one that says that more follow; from the third
    on a number is the difference to the last but one (maskApi.c of the COCO API, rleFrString).
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs
