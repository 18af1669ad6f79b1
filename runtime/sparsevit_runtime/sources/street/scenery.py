"""Everything that stands still: sky, ground, buildings, trees, poles, signs, fences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from .canvas import Canvas
from .classes import BUILDING, FENCE, PAVEMENT, POLE, ROAD, SIGN, SKY, TREE
from .layout import Layout
from .textures import facade, fractal_noise, railing

_FAR_M = 150.0
#: An item of scenery: its distance in metres and what draws it.
Item = tuple[float, Callable[[Canvas], None]]


def paint_sky(random: np.random.RandomState, layout: Layout, canvas: Canvas) -> None:
    """Sky with clouds and a far skyline; covers the whole canvas."""
    view, light = layout.view, layout.light
    height, width = canvas.ids.shape
    rows = np.clip(np.arange(height, dtype=np.float32) / max(1.0, view.horizon), 0, 1)[:, None, None]
    low = np.array(light.haze, np.float32)
    clear = random.rand() < 0.5
    top = np.array([225, 170, 115] if clear else [205, 200, 195], np.float32) * (low / 228.0)
    sky = top * (1 - rows) + low * rows
    cloud = fractal_noise(random, (width // 8 + 1, height // 3 + 1), max(8, width // 20), 5)
    cloud = cv2.resize(cloud, (width, height), interpolation=cv2.INTER_LINEAR)
    if clear:
        sky = sky + np.clip(cloud[..., None] * 1.6 - 0.1, 0, 1) * (low * 1.06 - sky)
    else:
        sky = sky * (1 + 0.10 * cloud[..., None])
    if random.rand() < 0.25:
        sky = sky * 1.25
    canvas.image[:] = np.clip(sky, 0, 255).astype(np.uint8)
    canvas.ids[:] = SKY
    canvas.depth[:] = 1e6
    canvas.z = 1e5
    x = -0.1 * width
    while x < 1.1 * width:
        w, h = random.uniform(0.02, 0.08) * width, random.uniform(0.01, 0.07) * height
        base = view.horizon + 2
        if random.rand() < 0.6:
            green = light.color((60, 95, 80), _FAR_M * 0.8)
            for _ in range(6):
                at = (x + random.uniform(0, w), base - h * random.uniform(0.1, 0.8))
                canvas.ellipse(at, (w * 0.35, h * 0.45), green, TREE)
            box = np.array([[x, base - h * 0.4], [x + w, base - h * 0.4], [x + w, base], [x, base]])
            canvas.polygon(box, green, TREE)
        else:
            box = np.array([[x, base - h], [x + w, base - h], [x + w, base], [x, base]])
            canvas.polygon(box, light.color(tuple(random.uniform(90, 170, 3)), _FAR_M), BUILDING)
        x += w * random.uniform(0.6, 1.1)


def paint_ground(random: np.random.RandomState, layout: Layout, canvas: Canvas) -> None:
    """Road with markings, kerbs, pavements, and grass beyond the building line; everything below the horizon."""
    view, light = layout.view, layout.light
    height, width = canvas.ids.shape
    first = max(0, int(view.horizon) + 1)
    if first >= height:
        return
    v = np.arange(first, height, dtype=np.float32)[:, None] + 0.5
    z = (view.focal * view.y / (v - view.horizon)).astype(np.float32)  # (rows, 1)
    u = np.arange(width, dtype=np.float32)[None] + 0.5
    x = ((u - view.center_x) / view.focal - view.bend * z) * z + view.x  # (rows, W)
    across = np.abs(x)
    right = x > 0
    edge = np.where(right, layout.edge(1), layout.edge(-1))
    is_road, is_pavement = across < layout.road_half, across < edge
    ids = np.where(is_road, ROAD, np.where(is_pavement, PAVEMENT, TREE)).astype(np.uint8)

    tile = fractal_noise(random, (512, 512), 128, 7)
    at = np.mod(x * 24, 511).astype(np.float32), np.mod(np.broadcast_to(z * 9, x.shape), 511).astype(np.float32)
    grain = cv2.remap(tile, at[0], at[1], cv2.INTER_LINEAR)
    wide = cv2.remap(tile, np.mod(at[0] * 0.11, 511), np.mod(at[1] * 0.11, 511), cv2.INTER_LINEAR)
    fine = cv2.remap(tile, np.mod(at[0] * 5.3, 511), np.mod(at[1] * 5.3, 511), cv2.INTER_LINEAR)
    # Far away the grain is finer than a pixel and would only flicker.
    relief = 1.0 + 0.16 * grain / (1.0 + (z / 22.0) ** 2) + 0.14 * fine / (1.0 + (z / 7.0) ** 2) + 0.12 * wide

    asphalt = np.array([1.02, 1.0, 0.98]) * random.uniform(70, 125)
    slab = np.array([0.95, 1.0, 1.03]) * random.uniform(105, 165)
    grass = np.array([45, 95, 75]) * random.uniform(0.7, 1.2)
    albedo = np.empty((*x.shape, 3), np.float32)
    albedo[:] = grass
    albedo[is_pavement] = slab
    albedo[is_road] = asphalt
    albedo *= relief[..., None]
    joints = (np.mod(across - layout.road_half, 0.75) < 0.05) | (np.mod(z, 0.75) < 0.05)
    albedo[joints & is_pavement & ~is_road] *= 0.86
    wheel_tracks = np.exp(-(((across - abs(layout.lane_x(1))) % 1.5 - 0.75) ** 2) / 0.06)
    albedo *= np.where(is_road, 1.0 - 0.07 * wheel_tracks, 1.0)[..., None]
    for _ in range(random.randint(0, 6)):
        px, pz = random.uniform(-1, 1) * layout.road_half, random.uniform(4, 40)
        patch = (np.abs(x - px) < random.uniform(0.3, 1.4)) & (np.abs(z - pz) < random.uniform(0.4, 4)) & is_road
        albedo[patch] *= random.uniform(0.75, 1.15)
    kerb = (across > layout.road_half - 0.02) & (across < layout.road_half + 0.16)
    albedo[kerb] = np.array([1, 1, 1]) * slab.mean() * 1.15
    gutter = (across > layout.road_half - 0.35) & is_road
    albedo[gutter] *= 0.82
    _markings(random, layout, x, z, across, is_road, albedo)

    if light.sun > 0.3:
        side = random.choice([-1, 1])
        reach = random.uniform(-0.9, 0.9) * layout.road_half
        steps = random.uniform(-2.5, 2.5, 64)[np.clip(z / 8, 0, 63).astype(int)]
        shadow = (x * side) > (reach + steps)
        albedo *= np.where(shadow, 1.0 - 0.5 * light.sun, 1.0 + 0.08 * light.sun)[..., None]

    haze = np.exp(-z / light.haze_distance_m)[..., None]
    seen = albedo * np.array(light.gain, np.float32) * haze + np.array(light.haze, np.float32) * (1 - haze)
    canvas.image[first:] = np.clip(seen, 0, 255).astype(np.uint8)
    canvas.ids[first:] = ids
    canvas.depth[first:] = 1e6


def _markings(random, layout, x, z, across, is_road, albedo) -> None:
    """Paints lines on the road into `albedo`, (rows, W, 3); all are part of the road."""
    paint = np.array([0.97, 1.0, 1.0]) * random.uniform(150, 215)
    yellow = np.array([70, 165, 190]) * random.uniform(0.8, 1.1)
    wear = random.uniform(0.55, 0.95)
    marks = []
    period = random.choice([4.0, 6.0, 9.0])
    style = random.randint(3)
    if style == 0:
        marks.append(((across < 0.07) & (np.mod(z, period) < period * 0.5), paint))
    elif style == 1:
        marks.append(((across > 0.06) & (across < 0.16) & np.ones_like(z, bool), paint))
    else:
        marks.append(((across < 0.06) & (np.mod(z, period) < period * 0.33), paint))
    if random.rand() < 0.5:
        lines = (across > layout.road_half - 0.30) & (across < layout.road_half - 0.20)
        if random.rand() < 0.5:
            lines |= (across > layout.road_half - 0.52) & (across < layout.road_half - 0.42)
        marks.append((lines & np.ones_like(z, bool), yellow if random.rand() < 0.6 else paint))
    for side in (-1, 1):
        if layout.parked[side > 0] and random.rand() < 0.6:
            line = np.abs(x * side - (layout.road_half - 2.15)) < 0.05
            marks.append((line & (np.mod(z, 2.0) < 1.2), paint))
    if layout.crossing_z is not None:
        near, far = layout.crossing_z - 1.5, layout.crossing_z + 1.5
        marks.append(((np.mod(x, 1.1) < 0.55) & (z > near) & (z < far), paint * 1.1))
        for edge in (near - 1.6, far + 1.6):
            marks.append(((np.abs(z - edge) < 0.15) & (across > 0.1), paint))
    for mark, color in marks:
        mark = mark & is_road
        albedo[mark] = albedo[mark] * (1 - wear) + color * wear


def building_line(random: np.random.RandomState, layout: Layout) -> list[Item]:
    """Buildings, gardens and rows of trees along both sides."""
    items: list[Item] = []
    for side in (-1, 1):
        z = 1.2
        height = random.uniform(6, 14)
        while z < _FAR_M:
            length = random.uniform(6, 20)
            near, far = z, min(_FAR_M + 15, z + length)
            kind = random.choice(["front", "garden", "trees"], p=[0.66, 0.17, 0.17])
            height = float(np.clip(height + random.uniform(-4, 4), 5.0, 20.0))
            seed = random.randint(2**31 - 1)
            if kind == "front":
                items.append((far, _front(seed, layout, side, layout.edge(side), near, far, height)))
            elif kind == "garden":
                setback = layout.edge(side) + random.uniform(2.5, 7)
                items.append((far + 0.02, _front(seed, layout, side, setback, near, far, height)))
                items.append((far + 0.01, _greenery(seed + 1, layout, side, near, far, 0.4)))
                items.append((far, _fence(seed + 2, layout, side, near, far)))
            else:
                items.append((far + 0.01, _greenery(seed, layout, side, near, far, 1.0)))
                items.append((far, _fence(seed + 1, layout, side, near, far)))
            z = far
    return items


def _front(seed: int, layout: Layout, side: int, line: float, near: float, far: float, height: float):
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


def _greenery(seed: int, layout: Layout, side: int, near: float, far: float, density: float):
    def draw(canvas: Canvas) -> None:
        random = np.random.RandomState(seed)
        count = max(1, int((far - near) / 3.5 * density))
        for z in np.sort(random.uniform(near, far, count))[::-1]:
            x = side * (layout.edge(side) + random.uniform(1.6, 4.5))
            canvas.z = far
            _tree(random, layout, canvas, x, float(z), random.uniform(3.5, 10), bush=random.rand() < 0.4)

    return draw


def _fence(seed: int, layout: Layout, side: int, near: float, far: float, line: float | None = None):
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


def _tree(
    random: np.random.RandomState, layout: Layout, canvas: Canvas, x: float, z: float, height: float, bush: bool = False
) -> None:
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


def _branch(random, canvas, start, angle, length, width, light, bark, z, depth) -> None:
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
            items.append((far, _fence(random.randint(2**31 - 1), layout, side, near, far, line)))
        if random.rand() < 0.3:
            start, gap = random.uniform(5, 20), random.uniform(1.5, 2.5)
            for i in range(random.randint(3, 9)):
                z = start + gap * i
                items.append((z, _bollard(random.randint(2**31 - 1), layout, side, z)))
        if layout.crossing_z is not None and random.rand() < 0.8:
            z = layout.crossing_z - 2.0
            items.append((z, _traffic_light(random.randint(2**31 - 1), layout, side, z)))
    return items


def _street_tree(seed: int, layout: Layout, side: int, z: float):
    def draw(canvas: Canvas) -> None:
        random = np.random.RandomState(seed)
        canvas.z = z
        _tree(random, layout, canvas, side * (layout.road_half + 0.9), z, random.uniform(5, 9))

    return draw


def _post(canvas: Canvas, layout: Layout, x: float, z: float, height: float, width_m: float, color) -> np.ndarray:
    canvas.z = z
    foot, top = layout.view.project([[x, 0, z], [x, height, z]])
    width = max(1.5, width_m * layout.view.scale_at(z))
    canvas.line(tuple(foot), tuple(top), width, layout.light.color(tuple(color), z), POLE)
    light_edge = np.array([[foot[0] - width / 2, foot[1]], [foot[0] - width / 5, foot[1]],
                           [top[0] - width / 5, top[1]], [top[0] - width / 2, top[1]]])  # fmt: skip
    canvas.paint(light_edge, layout.light.color(tuple(np.array(color) * 1.4), z))
    return top


def _lamp(seed: int, layout: Layout, side: int, z: float):
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


def _bollard(seed: int, layout: Layout, side: int, z: float):
    def draw(canvas: Canvas) -> None:
        random = np.random.RandomState(seed)
        color = np.array([[50, 50, 50], [60, 60, 140], [150, 160, 165]][random.randint(3)])
        _post(canvas, layout, side * (layout.road_half + 0.35), z, 1.0, 0.14, color)

    return draw


def _sign(seed: int, layout: Layout, side: int, z: float):
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


def _traffic_light(seed: int, layout: Layout, side: int, z: float):
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
