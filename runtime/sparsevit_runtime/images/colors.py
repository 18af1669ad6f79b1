"""How far two colours are apart to the eye."""

from __future__ import annotations

import cv2
import numpy as np


def lab_of(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of sRGB colours.

    Args:
        rgb: (..., 3), 0 to 255, of any numeric dtype.

    Returns:
        (..., 3) float64: lightness 0 to 100, and the two axes of colour.
    """
    colors = np.asarray(rgb, np.float32)
    lab = cv2.cvtColor(colors.reshape(-1, 1, 3) / 255, cv2.COLOR_RGB2Lab)
    return np.asarray(lab, np.float64).reshape(colors.shape)


def color_difference(one: np.ndarray, other: np.ndarray, lightness_weight: float = 1.0) -> np.ndarray:
    """CIEDE2000, after Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula" (2005).

    Args:
        one, other: (..., 3) L*a*b*; they broadcast.
        lightness_weight: the formula's k_L: the larger, the less a difference in lightness counts.

    Returns:
        (...) float64; about 1 is what an eye just tells apart side by side.
    """
    (l1, a1, b1), (l2, a2, b2) = (np.moveaxis(np.asarray(lab, np.float64), -1, 0) for lab in (one, other))
    chroma = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(chroma / (chroma + 25.0**7))
    c1, c2 = np.hypot(a1 * stretch, b1), np.hypot(a2 * stretch, b2)
    h1 = np.degrees(np.arctan2(b1, a1 * stretch)) % 360
    h2 = np.degrees(np.arctan2(b2, a2 * stretch)) % 360
    turn = (h2 - h1 + 180) % 360 - 180
    grey = c1 * c2 == 0
    hue = np.where(grey, h1 + h2, (h1 + turn / 2) % 360)
    turn = np.where(grey, 0.0, turn)
    l_mean, c_mean = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    away = (l_mean - 50) ** 2
    lightness = (l2 - l1) / ((1 + 0.015 * away / np.sqrt(20 + away)) * lightness_weight)
    saturation = (c2 - c1) / (1 + 0.045 * c_mean)
    shade = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2) / (1 + 0.015 * c_mean * t)
    blue = np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    rotation = -2 * np.sqrt(c_mean**7 / (c_mean**7 + 25.0**7)) * blue
    return np.asarray(np.sqrt(lightness**2 + saturation**2 + shade**2 + rotation * saturation * shade))
