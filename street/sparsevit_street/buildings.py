"""What lines the street: fronts, gardens, hedges, fences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from .canvas import Canvas
from .classes import BUILDING, FENCE
from .layout import FAR_M, Layout
from .plants import draw_tree
from .textures import facade, railing

#: What draws something on a canvas.
Draw = Callable[[Canvas], None]
#: Its distance in metres, to draw far things first, and what draws it.
Item = tuple[float, Draw]


def building_line(random: np.random.RandomState, layout: Layout) -> list[Item]:
    """Buildings, gardens and rows of trees along both sides."""
    items: list[Item] = []
    for side in (-1, 1):
        z = 1.2
        height = random.uniform(6, 14)
        while z < FAR_M:
            length = random.uniform(6, 20)
            near, far = z, min(FAR_M + 15, z + length)
            kind = random.choice(["front", "garden", "trees"], p=[0.66, 0.17, 0.17])
            height = float(np.clip(height + random.uniform(-4, 4), 5.0, 20.0))
            seed = random.randint(2**31 - 1)
            if kind == "front":
                items.append((far, _front(seed, layout, side, layout.edge(side), near, far, height)))
            elif kind == "garden":
                setback = layout.edge(side) + random.uniform(2.5, 7)
                items.append((far + 0.02, _front(seed, layout, side, setback, near, far, height)))
                items.append((far + 0.01, _greenery(seed + 1, layout, side, near, far, 0.4)))
                items.append((far, fence(seed + 2, layout, side, near, far)))
            else:
                items.append((far + 0.01, _greenery(seed, layout, side, near, far, 1.0)))
                items.append((far, fence(seed + 1, layout, side, near, far)))
            z = far
    return items


def _front(seed: int, layout: Layout, side: int, line: float, near: float, far: float, height: float) -> Draw:
    def draw(canvas: Canvas) -> None:
        random = np.random.RandomState(seed)
        view, light = layout.view, layout.light
        pitched = random.rand() < 0.45
        detail = float(np.clip(view.focal / max(near, 4.0) * 0.8, 8, 48))
        texture = facade(random, far - near, height, detail)
        if side < 0:
            texture = texture[:, ::-1]
        lit = light.image(np.ascontiguousarray(texture), (near + far) / 2, random.uniform(0.75, 1.05))
        x = side * line
        canvas.z = far
        roof = np.array([[62, 62, 68], [70, 85, 125]][random.randint(2)]) * random.uniform(0.7, 1.2)
        if pitched:
            ridge = random.uniform(2.0, 4.0)
            deep = side * (line + 4.0)
            slope = view.project(
                [[x, height, far], [x, height, near], [deep, height + ridge, near], [deep, height + ridge, far]]
            )
            canvas.polygon(slope, light.color(tuple(roof), far), BUILDING)
            gable = view.project([[x, height, near], [deep, height + ridge, near], [side * (line + 8.0), height, near]])
            canvas.polygon(gable, light.color(tuple(texture.mean(axis=(0, 1)) * 0.75), near), BUILDING)
        back = side * (line + 9.0)
        end = view.project([[x, height, near], [back, height, near], [back, 0, near], [x, 0, near]])
        canvas.polygon(end, light.color(tuple(texture.mean(axis=(0, 1)) * 0.8), near), BUILDING)
        wall = [[x, height, near], [x, height, far], [x, 0, far], [x, 0, near]]
        if side < 0:
            lit = np.ascontiguousarray(lit[:, ::-1])
        canvas.warp(lit, view.project(wall), BUILDING)

    return draw


def _greenery(seed: int, layout: Layout, side: int, near: float, far: float, density: float) -> Draw:
    def draw(canvas: Canvas) -> None:
        random = np.random.RandomState(seed)
        count = max(1, int((far - near) / 3.5 * density))
        for z in np.sort(random.uniform(near, far, count))[::-1]:
            x = side * (layout.edge(side) + random.uniform(1.6, 4.5))
            canvas.z = far
            draw_tree(random, layout, canvas, x, float(z), random.uniform(3.5, 10), bush=random.rand() < 0.4)

    return draw


def fence(seed: int, layout: Layout, side: int, near: float, far: float, line: float | None = None) -> Draw:
    """A fence, railing or low wall from near to far, at the building line or at `line` metres from the centre."""

    def draw(canvas: Canvas) -> None:
        view = layout.view
        height = np.random.RandomState(seed).uniform(0.9, 1.7)
        x = side * (layout.edge(side) if line is None else line)
        canvas.z = far if line is None else near
        # Short panels keep the texture sharp near the camera and let the fence follow the bend.
        edges = np.append(np.arange(far, near, -4.0), near)
        for back, front in pairwise(edges):
            panel = railing(np.random.RandomState(seed), back - front, height, float(np.clip(view.focal / back, 6, 40)))
            lit = layout.light.image(panel, back, 0.95)
            corners = [[x, height, front], [x, height, back], [x, 0, back], [x, 0, front]]
            canvas.warp(lit, view.project(corners), FENCE)

    return draw
