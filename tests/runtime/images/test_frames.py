from __future__ import annotations

import numpy as np
import pytest

from sparsevit_runtime.errors import FrameError
from sparsevit_runtime.images.frames import check_frame


@pytest.mark.parametrize("shape", [(1, 1, 3), (48, 64, 3)])
def test_a_frame_passes_uncopied(shape):
    image = np.zeros(shape, np.uint8)
    assert check_frame(image) is image


def test_a_crop_passes_uncopied():
    crop = np.zeros((48, 64, 3), np.uint8)[4:, 8:32]
    assert check_frame(crop) is crop


@pytest.mark.parametrize("turn", [np.fliplr, np.flipud, lambda a: a[:, :, ::-1], lambda a: a[:, ::2]])
def test_views_opencv_cannot_address_become_contiguous_with_the_same_pixels(turn):
    view = turn(np.random.RandomState(0).randint(0, 256, (6, 8, 3), dtype=np.uint8))
    out = check_frame(view)
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(out, view)


@pytest.mark.parametrize(
    ("image", "advice"),
    [
        (None, "imread"),
        ([[1, 2]], "list"),
        (np.zeros((0, 5, 3), np.uint8), "empty"),
        (np.zeros((5, 0, 3), np.uint8), "empty"),
        (np.zeros((4, 4), np.uint8), "COLOR_GRAY2BGR"),
        (np.zeros((4, 4, 1), np.uint8), "COLOR_GRAY2BGR"),
        (np.zeros((4, 4, 4), np.uint8), "COLOR_BGRA2BGR"),
        (np.zeros((3, 40, 50), np.uint8), "transpose"),
        (np.zeros((1, 4, 4, 3), np.uint8), "batch"),
        (np.zeros(7, np.uint8), "OpenCV"),
        (np.zeros((4, 4, 3), np.float32), "astype"),
        (np.zeros((4, 4, 3), np.uint16), "astype"),
    ],
)
def test_anything_else_is_named_and_told_how_to_convert(image, advice):
    with pytest.raises(FrameError, match=advice):
        check_frame(image)
