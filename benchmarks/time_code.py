"""Pictures that say when they were made: a time as blocks of black and white, which survives a codec."""

from __future__ import annotations

import time

import cv2
import numpy as np

_BITS = 24
_BLOCK = 16
#: Width and height in pixels.
SIZE_WH = (_BITS * _BLOCK, 8 * _BLOCK)


def now_ms() -> int:
    """The wall clock in milliseconds, as far as the blocks hold: it comes around after four and a half hours."""
    return time.time_ns() // 1_000_000 % 2**_BITS


def draw_code(number: int) -> np.ndarray:
    """A picture of a number, (H, W, 3) uint8 BGR, with something below it that moves."""
    width, height = SIZE_WH
    image = np.full((height, width, 3), 90, np.uint8)
    bits = np.array([number >> i & 1 for i in range(_BITS)], np.uint8) * 255
    image[: height // 2] = bits.repeat(_BLOCK)[None, :, None]
    cv2.circle(image, (number // 8 % width, height * 3 // 4), 12, (40, 200, 240), -1)
    return image


def read_code(image: np.ndarray) -> int:
    """The number of a picture."""
    middle = image[_BLOCK : 3 * _BLOCK].astype(np.float32).mean(axis=(0, 2)).reshape(_BITS, _BLOCK)
    return int(sum(1 << i for i, value in enumerate(middle[:, 4:-4].mean(axis=1)) if value > 128))


def age_ms(code: int, at_ns: int) -> float:
    """Milliseconds from a code until a wall clock's time in nanoseconds."""
    turn = 2**_BITS
    return (at_ns / 1e6 - code + turn / 2) % turn - turn / 2
