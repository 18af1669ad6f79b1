"""Flat textures: noise, clouds, facades, railings."""

from __future__ import annotations

import cv2
import numpy as np

from .canvas import Color

_BRICKS: tuple[Color, ...] = ((70, 85, 130), (95, 125, 155), (120, 140, 150), (60, 70, 105), (140, 160, 175))
_PLASTERS: tuple[Color, ...] = ((190, 205, 215), (170, 190, 200), (215, 220, 222), (150, 165, 180), (130, 135, 140))
_GLASS: tuple[Color, ...] = ((60, 50, 40), (95, 85, 75), (130, 120, 105), (45, 45, 45))
_SIGNS: tuple[Color, ...] = ((40, 40, 150), (110, 60, 30), (40, 90, 40), (40, 130, 190), (60, 60, 60), (200, 200, 200))


def pick(random: np.random.RandomState, choices: tuple[Color, ...]) -> Color:
    return choices[random.randint(len(choices))]


def fractal_noise(random: np.random.RandomState, size_wh: tuple[int, int], cell: int, octaves: int = 4) -> np.ndarray:
    """(H, W) float32 around 0, about -1 to 1; `cell` is the size in pixels of the coarsest grain."""
    width, height = size_wh
    out = np.zeros((height, width), np.float32)
    weight, total = 1.0, 0.0
    for _ in range(octaves):
        rows, columns = max(2, -(-height // cell) + 1), max(2, -(-width // cell) + 1)
        grid = random.uniform(-1, 1, (rows, columns)).astype(np.float32)
        out += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        total += weight
        weight *= 0.55
        cell = max(1, cell // 2)
    return out * (1.6 / total)


def facade(random: np.random.RandomState, length_m: float, height_m: float, pixels_per_m: float) -> np.ndarray:
    """(H, W, 3) uint8 BGR front of a building, lit evenly."""
    width, height = max(8, int(length_m * pixels_per_m)), max(8, int(height_m * pixels_per_m))
    p = pixels_per_m
    brick = random.rand() < 0.55
    base = np.array(pick(random, _BRICKS if brick else _PLASTERS), float) * random.uniform(0.75, 1.2)
    wall = np.empty((height, width, 3), np.float32)
    wall[:] = base
    wall *= 1.0 + 0.10 * fractal_noise(random, (width, height), max(2, int(3 * p)), 5)[..., None]
    if brick and p >= 24:
        wall[:: max(2, int(0.15 * p))] *= 0.9
        wall *= 1.0 + random.uniform(-0.06, 0.06, (height, width, 1)).astype(np.float32)
    wall = np.clip(wall, 0, 255).astype(np.uint8)

    floor_m = random.uniform(2.9, 3.6)
    floors = max(1, round(height_m / floor_m))
    floor_px = height / floors
    bays = max(1, round(length_m / random.uniform(1.9, 3.4)))
    bay_px = width / bays
    window_w, window_h = bay_px * random.uniform(0.38, 0.72), floor_px * random.uniform(0.45, 0.66)
    blue, green, red = (float(c) for c in base * 0.5)
    frame: Color = (225, 228, 230) if random.rand() < 0.7 else (blue, green, red)
    band = random.rand() < 0.4
    shop = random.rand() < 0.6
    for floor in range(floors):
        top = height - (floor + 1) * floor_px
        if band:
            cv2.rectangle(wall, (0, int(top)), (width, int(top + 0.2 * p)), tuple(float(c) for c in base * 1.12), -1)
        if floor == 0 and shop:
            _shopfront(random, wall, top, floor_px, bays, bay_px, p)
            continue
        for bay in range(bays):
            x0, y0 = bay * bay_px + (bay_px - window_w) / 2, top + (floor_px - window_h) * 0.55
            if floor == 0 and bay == bays // 2:
                cv2.rectangle(
                    wall,
                    (int(x0), int(height - floor_px * 0.75)),
                    (int(x0 + min(window_w, 1.1 * p)), height),
                    pick(random, _SIGNS),
                    -1,
                )
                continue
            _window(random, wall, x0, y0, window_w, window_h, frame, p)
    cornice = max(1, int(random.uniform(0.2, 0.5) * p))
    wall[:cornice] = np.clip(base * random.uniform(0.55, 1.25), 0, 255).astype(np.uint8)
    return wall


def _window(
    random: np.random.RandomState, wall: np.ndarray, x: float, y: float, w: float, h: float, frame: Color, p: float
) -> None:
    edge = max(1, int(0.08 * p))
    a, b = (int(x), int(y)), (int(x + w), int(y + h))
    cv2.rectangle(wall, a, b, frame, -1)
    glass = np.array(pick(random, _GLASS), float) * random.uniform(0.7, 1.3)
    cv2.rectangle(wall, (a[0] + edge, a[1] + edge), (b[0] - edge, b[1] - edge), tuple(glass), -1)
    middle = (a[1] + b[1]) // 2
    # The upper pane mirrors the sky.
    cv2.rectangle(wall, (a[0] + edge, a[1] + edge), (b[0] - edge, middle - edge // 2), tuple(glass * 1.5 + 12), -1)
    cv2.line(wall, (a[0], middle), (b[0], middle), frame, edge)
    cv2.line(wall, ((a[0] + b[0]) // 2, a[1]), ((a[0] + b[0]) // 2, b[1]), frame, edge)
    cv2.rectangle(wall, (a[0] - edge, b[1]), (b[0] + edge, b[1] + edge), (170, 175, 180), -1)


def _shopfront(
    random: np.random.RandomState, wall: np.ndarray, top: float, floor_px: float, bays: int, bay_px: float, p: float
) -> None:
    height, width = wall.shape[:2]
    sign = np.array(pick(random, _SIGNS), float)
    cv2.rectangle(wall, (0, int(top + 0.05 * floor_px)), (width, int(top + 0.28 * floor_px)), tuple(sign), -1)
    for _ in range(bays * 2):
        x = random.uniform(0, width)
        y = top + 0.12 * floor_px
        letter = 255 - sign * 0.3
        cv2.rectangle(
            wall, (int(x), int(y)), (int(x + 0.35 * p), int(y + 0.08 * floor_px)), tuple(float(c) for c in letter), -1
        )
    for bay in range(bays):
        x0, x1 = int(bay * bay_px + 0.12 * p), int((bay + 1) * bay_px - 0.12 * p)
        y0, y1 = int(top + 0.33 * floor_px), int(height - 0.12 * floor_px)
        glass = np.array(pick(random, _GLASS), float) * random.uniform(0.8, 1.5)
        cv2.rectangle(wall, (x0, y0), (x1, y1), tuple(glass), -1)
        for _ in range(4):
            gx, gy = random.randint(x0, max(x0 + 1, x1)), random.randint(y0, max(y0 + 1, y1))
            spot = tuple(glass * 0.5 + random.uniform(20, 110) + random.uniform(-25, 25, 3))
            cv2.rectangle(wall, (gx, gy), (min(x1, gx + int(0.5 * p)), min(y1, gy + int(0.4 * p))), spot, -1)


def railing(random: np.random.RandomState, length_m: float, height_m: float, pixels_per_m: float) -> np.ndarray:
    """(H, W, 3) uint8 BGR fence: metal bars, wooden boards or a low wall."""
    p = pixels_per_m
    width, height = max(8, int(length_m * p)), max(6, int(height_m * p))
    kind = random.randint(3)
    if kind == 0:
        out = np.empty((height, width, 3), np.uint8)
        out[:] = np.array([70, 85, 75]) * random.uniform(0.7, 1.4)
        metal = tuple(np.array([60, 65, 60]) * random.uniform(0.4, 2.2))
        for x in np.arange(0, width, 0.14 * p):
            cv2.line(out, (int(x), 0), (int(x), height), metal, max(1, int(0.05 * p)))
        for y in (0.04, 0.9):
            cv2.line(out, (0, int(y * height)), (width, int(y * height)), metal, max(1, int(0.07 * p)))
        return out
    base = np.array([75, 105, 135] if kind == 1 else [130, 140, 148]) * random.uniform(0.7, 1.3)
    wall: np.ndarray = np.empty((height, width, 3), np.float32)
    wall[:] = base
    wall *= 1.0 + 0.12 * fractal_noise(random, (width, height), max(2, int(p)), 4)[..., None]
    if kind == 1:
        for x in np.arange(0, width, 0.18 * p):
            wall[:, int(x) : int(x) + max(1, int(0.03 * p))] *= 0.6
    else:
        wall[:: max(2, int(0.25 * p))] *= 0.85
        wall[: max(1, int(0.08 * p))] *= 1.2
    return np.clip(wall, 0, 255).astype(np.uint8)
