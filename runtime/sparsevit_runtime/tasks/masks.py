"""Masks as COCO writes them: run lengths, compressed run lengths, polygons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from ..errors import ArgumentError


def encode_mask(mask: np.ndarray, form: str) -> Any:
    """A mask for JSON.

    Args:
        mask: (H, W) bool.
        form: ``counts``, lengths of runs down the columns, zeros first, as a list; ``rle``, the same as pycocotools
            packs them into text; ``polygons``, outlines along the pixels' edges, [x, y, x, y, ...] each, in which holes
            are filled, for COCO's polygons have none.

    Returns:
        {"size": [H, W], "counts": ...}, or a list of polygons.

    Raises:
        ArgumentError: another form.
    """
    if not isinstance(form, str) or form not in _FORMS:
        raise ArgumentError(f"a mask is written as {', '.join(_FORMS)}, not as {form!r}")
    return _FORMS[form](mask)


def _counts(mask: np.ndarray) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": _runs(mask).tolist()}


def _rle(mask: np.ndarray) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": _packed(_runs(mask))}


def _runs(mask: np.ndarray) -> np.ndarray:
    """Lengths of runs down the columns, the first of zeros, (N,) int64."""
    member = mask.T.ravel()
    turns = np.flatnonzero(member[1:] != member[:-1]) + 1
    edges = np.concatenate([[0] if member[0] else [], [0], turns, [member.size]]).astype(np.int64)
    return np.diff(edges)


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


def _polygons(mask: np.ndarray) -> list[list[float]]:
    # Contours run through the centres of the outermost pixels; on a mask of twice the size these lie a quarter of a
    # pixel from the edge, which rounding finds.
    finer = mask.view(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(finer, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    edges = [np.round((contour[:, 0] + 0.5) / 2) for contour in contours]
    return [edge.ravel().tolist() for edge in edges if len(edge) > 2]


_FORMS: dict[str, Callable[[np.ndarray], Any]] = {"counts": _counts, "rle": _rle, "polygons": _polygons}
#: Forms that `encode_mask` knows.
MASK_FORMS = tuple(_FORMS)
