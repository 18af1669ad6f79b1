"""What stands along the kerbs: lamp posts, street trees, signs, traffic lights, bollards, railings."""

from __future__ import annotations

import numpy as np

from .buildings import Draw, Item, fence
from .canvas import Canvas, Color
from .classes import POLE, SIGN
from .layout import Layout
from .plants import draw_tree


def street_furniture(random: np.random.RandomState, layout: Layout) -> list[Item]:
    """Lamp posts, street trees, signs, traffic lights, bollards, railings along the kerbs."""
    items: list[Item] = []
    for side in (-1, 1):
        spacing = random.uniform(16, 30)
        for z in np.arange(random.uniform(5, 5 + spacing), 130, spacing):
            items.append((float(z), _lamp(random.randint(2**31 - 1), layout, side, float(z))))
        if random.rand() < 0.5:
            spacing = random.uniform(9, 20)
            for z in np.arange(random.uniform(8, 20), 120, spacing):
                items.append((float(z), _street_tree(random.randint(2**31 - 1), layout, side, float(z))))
        for _ in range(random.randint(2, 6)):
            z = random.uniform(6, 60)
            items.append((z, _sign(random.randint(2**31 - 1), layout, side, z)))
        if random.rand() < 0.35:
            near = random.uniform(5, 25)
            far = near + random.uniform(6, 20)
            line = layout.road_half + 0.3
            items.append((far, fence(random.randint(2**31 - 1), layout, side, near, far, line)))
        if random.rand() < 0.3:
            start, gap = random.uniform(5, 20), random.uniform(1.5, 2.5)
            for i in range(random.randint(3, 9)):
                z = start + gap * i
                items.append((z, _bollard(random.randint(2**31 - 1), layout, side, z)))
        if layout.crossing_z is not None and random.rand() < 0.8:
            z = layout.crossing_z - 2.0
            items.append((z, _traffic_light(random.randint(2**31 - 1), layout, side, z)))
    return items


def _street_tree(seed: int, layout: Layout, side: int, z: float) -> Draw:
    def draw(canvas: Canvas) -> None:
        random = np.random.RandomState(seed)
        canvas.z = z
        draw_tree(random, layout, canvas, side * (layout.road_half + 0.9), z, random.uniform(5, 9))

    return draw


def _post(
    canvas: Canvas, layout: Layout, x: float, z: float, height: float, width_m: float, color: np.ndarray | Color
) -> np.ndarray:
    """Draws a post and returns its top in pixels."""
    canvas.z = z
    foot, top = layout.view.project([[x, 0, z], [x, height, z]])
    width = max(1.5, width_m * layout.view.scale_at(z))
    canvas.line(tuple(foot), tuple(top), width, layout.light.color(tuple(color), z), POLE)
    light_edge = np.array([[foot[0] - width / 2, foot[1]], [foot[0] - width / 5, foot[1]],
                           [top[0] - width / 5, top[1]], [top[0] - width / 2, top[1]]])  # fmt: skip
    canvas.paint(light_edge, layout.light.color(tuple(np.array(color) * 1.4), z))
    return top


def _lamp(seed: int, layout: Layout, side: int, z: float) -> Draw:
    def draw(canvas: Canvas) -> None:
        random = np.random.RandomState(seed)
        pixels = layout.view.scale_at(z)
        color = np.array([85, 88, 88]) * random.uniform(0.5, 1.6)
        height = random.uniform(6.0, 9.0)
        x = side * (layout.road_half + 0.45)
        top = _post(canvas, layout, x, z, height, 0.14, color)
        arm = (top[0] - side * 1.4 * pixels, top[1] - 0.25 * pixels)
        seen = layout.light.color(tuple(color), z)
        canvas.line(tuple(top), arm, 0.08 * pixels, seen, POLE)
        canvas.ellipse(arm, (0.35 * pixels, 0.10 * pixels), layout.light.color((200, 205, 205), z), POLE)

    return draw


def _bollard(seed: int, layout: Layout, side: int, z: float) -> Draw:
    def draw(canvas: Canvas) -> None:
        random = np.random.RandomState(seed)
        color = np.array([[50, 50, 50], [60, 60, 140], [150, 160, 165]][random.randint(3)])
        _post(canvas, layout, side * (layout.road_half + 0.35), z, 1.0, 0.14, color)

    return draw


def _sign(seed: int, layout: Layout, side: int, z: float) -> Draw:
    def draw(canvas: Canvas) -> None:
        random = np.random.RandomState(seed)
        light, pixels = layout.light, layout.view.scale_at(z)
        x = side * (layout.road_half + random.uniform(0.3, layout.pavement[side > 0] - 0.3))
        top = _post(canvas, layout, x, z, random.uniform(2.2, 3.2), 0.08, (125, 128, 128))
        r = random.uniform(0.26, 0.45) * pixels
        red, white, blue = (light.color(c, z) for c in ((45, 40, 190), (225, 228, 228), (170, 90, 30)))
        kind = random.randint(4)
        if kind == 0:
            canvas.ellipse(tuple(top), (r, r), red, SIGN)
            canvas.ellipse(tuple(top), (r * 0.72, r * 0.72), white, SIGN)
        elif kind == 1:
            canvas.ellipse(tuple(top), (r, r), blue, SIGN)
            canvas.ellipse(tuple(top), (r * 0.3, r * 0.6), white, SIGN)
        elif kind == 2:
            for scale, color in ((1.2, red), (0.75, white)):
                corners = top + np.array([[0, -1.0], [0.95, 0.65], [-0.95, 0.65]]) * r * scale
                canvas.polygon(corners, color, SIGN)
        else:
            w, h = r * random.uniform(1.0, 2.2), r * random.uniform(0.7, 1.4)
            board = top + np.array([[-w, -h], [w, -h], [w, h], [-w, h]])
            ground = [(120, 60, 20), (40, 110, 40), (40, 170, 200), (220, 220, 220)][random.randint(4)]
            canvas.polygon(board, white, SIGN)
            canvas.polygon(top + (board - top) * 0.9, light.color(ground, z), SIGN)
            for row in (-0.4, 0.1, 0.5):
                line = top + np.array(
                    [[-0.7 * w, row * h], [0.6 * w, row * h], [0.6 * w, (row + 0.2) * h], [-0.7 * w, (row + 0.2) * h]]
                )
                canvas.paint(line, white if sum(ground) < 500 else light.color((40, 40, 40), z))

    return draw


def _traffic_light(seed: int, layout: Layout, side: int, z: float) -> Draw:
    def draw(canvas: Canvas) -> None:
        random = np.random.RandomState(seed)
        light, pixels = layout.light, layout.view.scale_at(z)
        top = _post(canvas, layout, side * (layout.road_half + 0.4), z, 3.4, 0.12, (50, 52, 52))
        w, h = 0.19 * pixels, 0.52 * pixels
        box = top + np.array([[-w, -h], [w, -h], [w, h], [-w, h]])
        canvas.polygon(box, light.color((38, 40, 40), z), SIGN)
        on = random.randint(3)
        for i, color in enumerate(((60, 60, 250), (60, 190, 250), (140, 240, 80))):
            # A lamp shines by itself, so daylight does not scale it.
            seen = color if i == on else light.color(tuple(np.array(color) * 0.25), z)
            canvas.ellipse((top[0], top[1] + (i - 1) * 0.62 * h), (w * 0.6, w * 0.6), seen, SIGN)

    return draw
