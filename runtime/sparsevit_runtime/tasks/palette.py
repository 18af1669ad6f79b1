"""Colours of classes, as they are drawn."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np

from ..card import ModelCard
from ..images.colors import color_difference, lab_of

#: Opacity at which classes tint a picture.
OPACITY = 0.5
#: Mean RGB colours of asphalt, of a clear sky and of grass in daylight: what classes are blended with.
BACKDROPS = ((105, 104, 103), (150, 185, 220), (95, 120, 60))
#: CIEDE2000 between any two classes blended with one backdrop, at which a card's colours are drawn as they are.
ENOUGH = 14.0

_GOLDEN = 0.618033988749895  # steps of the golden ratio keep neighbouring hues far apart
#: What colours that are chosen anew are sought to have, and what a step of it is worth in the likeness to the card's.
_SOUGHT, _WORTH = 19.0, 10.0
#: More classes than this cannot be kept that far apart.
_MOST = 32
#: Levels of each channel, and the least lightness, of colours to choose from.
_LEVELS, _DARKEST = (0, 64, 128, 191, 255), 25.0
_SWEEPS = 20

_Color = tuple[int, int, int]


def class_palette(card: ModelCard) -> np.ndarray:
    """One colour per class as it is drawn, (K, 3) uint8 RGB.

    The card's colours are drawn as they are when any two of them stay `ENOUGH` apart after blending with asphalt, sky
    and grass, or when there are too many of them for that. Otherwise those that come too near one another give way to
    colours that stay apart and are as like them as can be, in hue before lightness. A class without a colour of its own
    has a distinct hue.
    """
    own = apart(tuple(entry.color for entry in card.classes if entry.color is not None))
    palette = hues(len(card.classes))
    palette[[entry.color is not None for entry in card.classes]] = np.array(own, np.uint8).reshape(-1, 3)
    return palette


def hues(count: int) -> np.ndarray:
    """Distinct colours, (count, 3) uint8 RGB."""
    return np.array([_hue(i) for i in range(count)], np.uint8).reshape(-1, 3)


@lru_cache(maxsize=64)
def apart(colors: tuple[_Color, ...]) -> tuple[_Color, ...]:
    """The colours, RGB, or such as stay apart when blended; see `class_palette`."""
    if not 1 < len(colors) <= _MOST or least_difference(np.array(colors)) >= ENOUGH:
        return colors
    cube = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), -1).reshape(-1, 3)
    choices = np.concatenate([np.array(colors), cube[lab_of(cube)[:, 0] >= _DARKEST]])  # (N, 3)
    between, lab = _differences(choices), lab_of(choices)  # (N, N)
    unlike = color_difference(lab[:, None], lab[None, : len(colors)], lightness_weight=2.0)  # (N, K)
    chosen = list(range(len(colors)))
    for _ in range(_SWEEPS):
        before = list(chosen)
        for i in range(len(colors)):
            nearest = between[:, chosen[:i] + chosen[i + 1 :]].min(axis=1)
            chosen[i] = int(np.argmax(_WORTH * np.minimum(nearest, _SOUGHT) - unlike[:, i]))
        if chosen == before:
            break
    return tuple((int(r), int(g), int(b)) for r, g, b in choices[chosen])


def least_difference(palette: np.ndarray) -> float:
    """Least CIEDE2000 between any two of (K, 3) RGB colours, both blended with the same of `BACKDROPS`."""
    return float(_differences(palette)[np.triu_indices(len(palette), 1)].min(initial=np.inf))


def _differences(colors: np.ndarray) -> np.ndarray:
    """Of any two of (N, 3) colours the least on any backdrop, (N, N)."""
    backdrops = np.array(BACKDROPS, np.float64)
    blended = lab_of(OPACITY * colors[None] + (1 - OPACITY) * backdrops[:, None])  # (backdrops, N, 3)
    rows, columns = np.triu_indices(len(colors), 1)
    table = np.zeros((len(colors), len(colors)))
    least = color_difference(blended[:, rows], blended[:, columns]).min(axis=0, initial=np.inf)
    table[rows, columns] = table[columns, rows] = least
    return table


def _hue(index: int) -> _Color:
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN % 1.0, 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
