"""Masks as COCO writes them: run lengths, compressed run lengths, polygons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from ..errors import ArgumentError


def encode_mask(
    mask: np.ndarray, form: str, *, xy: tuple[int, int] = (0, 0), image_hw: tuple[int, int] | None = None
) -> Any:
    """A mask for JSON.

    Args:
        mask: (H, W) bool, or the part of it outside which nothing is.
        form: ``counts``, lengths of runs down the columns, zeros first, as a list; ``rle``, the same as pycocotools
            packs them into text; ``polygons``, outlines along the pixels' edges, [x, y, x, y, ...] each, in which holes
            are filled, for COCO's polygons have none.
        xy: column and row of the part's upper left pixel.
        image_hw: height and width of the whole mask; those of `mask` when None.

    Returns:
        {"size": [H, W], "counts": ...}, or a list of polygons.

    Raises:
        ArgumentError: another form.
    """
    if not isinstance(form, str) or form not in _FORMS:
        raise ArgumentError(f"a mask is written as {', '.join(_FORMS)}, not as {form!r}")
    return _FORMS[form](mask, xy, (mask.shape[0], mask.shape[1]) if image_hw is None else image_hw)


def _counts(mask: np.ndarray, xy: tuple[int, int], image_hw: tuple[int, int]) -> dict[str, Any]:
    return {"size": list(image_hw), "counts": _runs(mask, xy, image_hw).tolist()}


def _rle(mask: np.ndarray, xy: tuple[int, int], image_hw: tuple[int, int]) -> dict[str, Any]:
    return {"size": list(image_hw), "counts": _packed(_runs(mask, xy, image_hw))}


def _runs(mask: np.ndarray, xy: tuple[int, int], image_hw: tuple[int, int]) -> np.ndarray:
    """Lengths of runs down the columns of the whole mask, the first of zeros, (N,) int64."""
    (rows, columns), (x, y), (height, width) = mask.shape, xy, image_hw
    member = np.zeros((columns, rows + 2), bool)  # one of nothing before and after each column: every run has its ends
    member[:, 1:-1] = mask.T
    member = member.ravel()
    column, row = np.divmod(np.flatnonzero(member[1:] != member[:-1]), rows + 2)
    turns = (x + column) * height + y + row  # into the whole mask's pixels
    starts, ends = turns[0::2], turns[1::2]
    goes_on = starts[1:] == ends[:-1]  # from the foot of a column at the head of the next
    edges = np.stack([starts[np.r_[True, ~goes_on]], ends[np.r_[~goes_on, True]]], axis=1) if len(turns) else turns
    runs = np.diff(np.concatenate([[0], edges.ravel(), [height * width]])).astype(np.int64)
    return runs if runs[-1] or len(runs) == 1 else runs[:-1]


def _packed(runs: np.ndarray) -> str:
    """COCO's text: from the fourth on the difference to the run two before, five bits a character, lowest first."""
    steps = runs.copy()
    steps[3:] -= runs[1:-2]
    text = bytearray()
    for step in steps.tolist():
        more = True
        while more:
            bits = step & 31
            step >>= 5
            more = step != (-1 if bits & 16 else 0)
            text.append(bits + 48 + (32 if more else 0))
    return text.decode("ascii")


def _polygons(mask: np.ndarray, xy: tuple[int, int], image_hw: tuple[int, int]) -> list[list[float]]:
    # Contours run through the centres of the outermost pixels; on a mask of twice the size these lie a quarter of a
    # pixel from the edge, which rounding finds.
    finer = mask.view(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(finer, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    edges = [np.round((contour[:, 0] + 0.5) / 2) + xy for contour in contours]
    return [edge.ravel().tolist() for edge in edges if len(edge) > 2]


_FORMS: dict[str, Callable[[np.ndarray, tuple[int, int], tuple[int, int]], Any]] = {
    "counts": _counts,
    "rle": _rle,
    "polygons": _polygons,
}
#: Forms that `encode_mask` knows.
MASK_FORMS = tuple(_FORMS)
