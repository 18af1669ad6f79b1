import zlib

import numpy as np
import pytest

from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.windows.geometry import stage_geometries


@pytest.mark.parametrize(
    ("size", "seed", "checksum"), [((64, 96), 0, 298308814), ((33, 57), 7, 3331891192), ((1, 1), 1, 2165747096)]
)
def test_the_same_pixels_everywhere(size, seed, checksum):
    """Files carry outputs recorded on this image: it must never change."""
    image = probe_image(*size, seed)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert zlib.crc32(image.tobytes()) == checksum


def test_seeds_differ():
    assert (probe_image(64, 64, 0) != probe_image(64, 64, 1)).any()


def test_windows_differ_widely():
    """Contrast inside the windows spreads, so that a ranking is not decided by rounding."""
    image = probe_image(224, 224, 0).astype(float).mean(axis=2)
    stage = stage_geometries(224, 224, (2,), 7)[0]
    mean, square = (per_window(image**power, stage) for power in (1, 2))
    contrast = np.sqrt(square - mean**2)
    assert contrast.max() > 1.5 * contrast.min() and mean.max() > 1.3 * mean.min()
    assert len(np.unique(mean)) == stage.windows


def per_window(image, stage):
    side = stage.window_size * 4
    return image.reshape(stage.windows_hw[0], side, stage.windows_hw[1], side).mean(axis=(1, 3))
