"""Trees and bushes, in leaf or bare."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Light
from .classes import TREE
from .layout import Layout


def draw_tree(
    random: np.random.RandomState, layout: Layout, canvas: Canvas, x: float, z: float, height: float, bush: bool = False
) -> None:
    """Draws a tree, or a bush of a third of the height, that stands at x, z metres."""
    view, light = layout.view, layout.light
    pixels = view.scale_at(z)
    foot, top = view.project([[x, 0, z], [x, height, z]])
    bark = np.array([55, 65, 75]) * random.uniform(0.6, 1.2)
    trunk = (0.12 + 0.02 * height) * pixels
    if not bush and random.rand() < 0.35:
        _branch(random, canvas, foot, -np.pi / 2, height * pixels * 0.34, trunk, light, bark, z, 6)
        return
    crown_low = 0.0 if bush else 0.35
    if bush:
        top = foot + (top - foot) * 0.35
    else:
        canvas.line(tuple(foot), tuple(foot + (top - foot) * 0.6), trunk, light.color(tuple(bark), z), TREE)
    green = np.array([random.uniform(20, 55), random.uniform(70, 115), random.uniform(45, 95)])
    span = (foot[1] - top[1]) * (1 - crown_low)
    center_y = top[1] + span / 2
    half_w, half_h = span * random.uniform(0.4, 0.6), span * 0.5
    # Clumps of leaves: dark large ones inside, then smaller ones lit from above, then single leaves if they show.
    lobes = random.uniform(0.8, 1.12, 9)
    for count, size, dark in ((26, 0.34, 0.72), (90, 0.15, 0.9), (500, 0.05, 1.0), (900, 0.028, 1.08)):
        if half_h * size < 1.5:
            break
        angles, radii = random.uniform(0, 2 * np.pi, count), np.sqrt(random.random_sample(count))
        radii *= np.interp(angles, np.linspace(0, 2 * np.pi, 9), np.append(lobes[:8], lobes[0])) - size * 0.6
        sizes, tones = half_h * size * random.uniform(0.6, 1.3, count), random.uniform(0.65, 1.3, count)
        for angle, radius, r, tone in zip(angles, radii, sizes, tones):
            dx, dy = np.cos(angle) * radius, np.sin(angle) * radius
            lift = dark * (0.85 - 0.34 * dy + 0.12 * dx * (1 if light.sun > 0.3 else 0))
            color = light.color(tuple(green * lift * tone), z)
            canvas.ellipse((foot[0] + dx * half_w, center_y + dy * half_h), (r * 1.15, r), color, TREE)


def _branch(
    random: np.random.RandomState,
    canvas: Canvas,
    start: np.ndarray | tuple[float, float],
    angle: float,
    length: float,
    width: float,
    light: Light,
    bark: np.ndarray,
    z: float,
    depth: int,
) -> None:
    end = (start[0] + np.cos(angle) * length, start[1] + np.sin(angle) * length)
    canvas.line(tuple(start), end, width, light.color(tuple(bark * random.uniform(0.8, 1.1)), z), TREE)
    if depth == 0 or length < 3:
        return
    for turn in (-0.5, 0.05, 0.5):
        if depth < 4 and random.rand() < 0.15:
            continue
        _branch(
            random,
            canvas,
            end,
            angle + turn + random.uniform(-0.25, 0.25),
            length * random.uniform(0.55, 0.8),
            width * 0.6,
            light,
            bark,
            z,
            depth - 1,
        )
