"""Sky, skyline and ground: what every pixel shows before anything stands in front of it."""

from __future__ import annotations

import cv2
import numpy as np

from .canvas import Canvas
from .classes import BUILDING, PAVEMENT, ROAD, SKY, TREE
from .layout import FAR_M, Layout
from .textures import fractal_noise


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
    if canvas.depth is not None:
        canvas.depth[:] = 1e6
    canvas.z = 1e5
    x = -0.1 * width
    while x < 1.1 * width:
        w, h = random.uniform(0.02, 0.08) * width, random.uniform(0.01, 0.07) * height
        base = view.horizon + 2
        if random.rand() < 0.6:
            green = light.color((60, 95, 80), FAR_M * 0.8)
            for _ in range(6):
                at = (x + random.uniform(0, w), base - h * random.uniform(0.1, 0.8))
                canvas.ellipse(at, (w * 0.35, h * 0.45), green, TREE)
            box = np.array([[x, base - h * 0.4], [x + w, base - h * 0.4], [x + w, base], [x, base]])
            canvas.polygon(box, green, TREE)
        else:
            box = np.array([[x, base - h], [x + w, base - h], [x + w, base], [x, base]])
            canvas.polygon(box, light.color(tuple(random.uniform(90, 170, 3)), FAR_M), BUILDING)
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
    if canvas.depth is not None:
        canvas.depth[first:] = 1e6


def _markings(
    random: np.random.RandomState,
    layout: Layout,
    x: np.ndarray,
    z: np.ndarray,
    across: np.ndarray,
    is_road: np.ndarray,
    albedo: np.ndarray,
) -> None:
    """Paints lines on the road into `albedo`; all are part of the road.

    Args:
        x, across: (rows, W) metres from the centre line, with and without sign.
        z: (rows, 1) metres from the camera.
        is_road: (rows, W) bool.
        albedo: (rows, W, 3) float32, changed in place.
    """
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
