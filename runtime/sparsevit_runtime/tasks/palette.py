"""Colours of classes."""

from __future__ import annotations

import colorsys

import numpy as np

from ..card import ModelCard

_GOLDEN = 0.618033988749895  # steps of the golden ratio keep neighbouring hues far apart


def class_palette(card: ModelCard) -> np.ndarray:
    """One colour per class, (K, 3) uint8 RGB: the card's where it has one, else a distinct hue."""
    colors = [entry.color or _hue(i) for i, entry in enumerate(card.classes)]
    return np.array(colors, np.uint8).reshape(-1, 3)


def _hue(index: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN % 1.0, 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
