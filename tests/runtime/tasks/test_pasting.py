"""Pasting against the rule itself, pixel by pixel in float64 (detectron2's and mmdet's `_do_paste_mask`)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sparsevit_runtime.tasks.pasting import MASK_THRESHOLD, paste, patch_of

#: Boxes, logits over them, and the masks that mmdet 2.28 made of these, packed along the rows: small ones, such as are
#: cut by the frame's edge, and one in which rounding is known to differ.
RECORDED = Path(__file__).with_name("pasted_by_mmdet.npz")
FRAME_WH = (40, 30)
BOXES = [
    (5.0, 4.0, 25.0, 20.0),
    (5.3, 4.9, 25.7, 20.1),
    (0.0, 0.0, 40.0, 30.0),  # the frame
    (-7.5, -3.25, 12.0, 50.0),  # over its edges
    (30.0, 20.0, 47.0, 33.0),
    (10.2, 10.2, 10.7, 10.8),  # within a pixel
    (10.0, 10.0, 11.0, 11.0),  # a pixel
    (10.9, 3.0, 11.1, 28.0),  # a line
    (12.0, 5.0, 12.0, 15.0),  # no width
    (12.25, 5.5, 20.0, 5.5),  # no height
    (-20.0, -20.0, -5.0, -5.0),  # not on the frame
    (60.0, 60.0, 90.0, 90.0),
    (39.5, 29.5, 1e30, 1e30),
]


def value(grid: np.ndarray, x: float, y: float) -> float:
    """The grid at a place, bilinear, zeros outside."""
    total = 0.0
    for row, share_y in ((math.floor(y), 1 - (y - math.floor(y))), (math.floor(y) + 1, y - math.floor(y))):
        for column, share_x in ((math.floor(x), 1 - (x - math.floor(x))), (math.floor(x) + 1, x - math.floor(x))):
            if 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]:
                total += float(grid[row, column]) * share_x * share_y
    return total


def place(pixel: int, low: float, high: float, cells: int) -> float:
    if low == high:
        return (cells - 1) / 2  # the infinite coordinate, set to 0 of -1 to 1
    return (pixel + 0.5 - low) / (high - low) * cells - 0.5


def by_rule(grid: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    """Probabilities at every pixel of the frame, (H, W)."""
    x0, y0, x1, y1 = map(float, np.array(box, np.float32))
    rows, columns = grid.shape
    return np.array(
        [
            [value(grid, place(x, x0, x1, columns), place(y, y0, y1, rows)) for x in range(FRAME_WH[0])]
            for y in range(FRAME_WH[1])
        ]
    )


@pytest.mark.parametrize("cells", [(28, 28), (7, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("box", BOXES, ids=str)
def test_pixels_are_those_of_the_rule(box, cells):
    grid = np.random.RandomState(0).random_sample(cells).astype(np.float32)
    xyxy = np.array(box, np.float32)
    patch = patch_of(xyxy, FRAME_WH)
    pasted, wanted = paste(grid, xyxy, patch), by_rule(grid, box)
    assert pasted.shape == (patch.height, patch.width)
    np.testing.assert_allclose(pasted, wanted[patch.rows, patch.columns], atol=1e-5)
    if box[0] < box[2] and box[1] < box[3]:  # nothing is left out where the box has an extent
        outside = wanted.copy()
        outside[patch.rows, patch.columns] = 0
        assert outside.max() < 0.5


@pytest.mark.parametrize("box", BOXES, ids=str)
def test_a_patch_is_a_pixel_more_than_the_box_and_on_the_frame(box):
    patch = patch_of(np.array(box, np.float32), FRAME_WH)
    assert 0 <= patch.x <= patch.x + patch.width <= 40 and 0 <= patch.y <= patch.y + patch.height <= 30
    on_frame = box[2] >= -1 and box[0] <= 41
    assert (patch.width > 0) == on_frame
    if on_frame:
        assert patch.x == max(0, math.floor(box[0]) - 1) and patch.x + patch.width == min(40, math.ceil(box[2]) + 1)


def test_masks_are_those_that_the_original_made():
    """But for a pixel whose probability is the threshold."""
    with np.load(RECORDED) as archive:
        boxes, logits, packed, image_wh = (archive[key] for key in ("boxes", "logits", "masks", "image_wh"))
    width, height = (int(side) for side in image_wh)
    wrong = 0
    for box, grid, rows in zip(boxes, logits, packed):
        theirs = np.unpackbits(rows, axis=-1)[:, :width].astype(bool)
        ours = np.zeros((height, width), bool)
        patch = patch_of(box, (width, height))
        ours[patch.rows, patch.columns] = paste(1 / (1 + np.exp(-grid)), box, patch) >= MASK_THRESHOLD
        assert theirs.any() and (ours != theirs).sum() <= 1
        wrong += int((ours != theirs).sum())
    assert len(boxes) == 16 and wrong <= 2
