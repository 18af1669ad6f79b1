"""The probe image: the same pixels on every machine, made from a seed, for checking a model against its record."""

from __future__ import annotations

import numpy as np

from ..arguments import as_whole

_LARGEST = 1 << 16  # pixels along a side


def probe_image(height: int, width: int, seed: int) -> np.ndarray:
    """Coarse blocks with patches of fine noise of very different strength, so that the scores of windows spread widely.

    Integer arithmetic on `numpy.random.RandomState`, whose sequence is frozen across NumPy versions: no library and no
    CPU changes a pixel.

    Args:
        height, width: pixels, >= 1.
        seed: seed of the RandomState, 0 to 2**32 - 1.

    Returns:
        (height, width, 3) uint8 BGR.

    Raises:
        ArgumentError: no whole numbers, or beyond these limits.
    """
    height, width = (as_whole(side, "a side", 1, _LARGEST) for side in (height, width))
    seed = as_whole(seed, "seed", 0, 2**32 - 1)
    random = np.random.RandomState(seed)

    def blocks(size: int, low: int, high: int, channels: int) -> np.ndarray:
        grid = random.randint(low, high, (-(-height // size), -(-width // size), channels), np.int32)
        return grid.repeat(size, axis=0).repeat(size, axis=1)[:height, :width]

    base = blocks(32, 40, 216, 3)
    contrast = blocks(48, 0, 9, 1) ** 2  # 0 to 64: flat patches beside loud ones
    noise = random.randint(-64, 65, (height, width, 3), np.int32)
    image = np.clip(base + blocks(8, -24, 25, 3) * contrast // 64 + noise * contrast // 64, 0, 255)
    return np.asarray(image, np.uint8)
