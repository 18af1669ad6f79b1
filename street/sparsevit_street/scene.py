"""One street, rendered frame by frame."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from .actors import BODIES, Actor, body_length, draw_actor, draw_looks, extent
from .backdrop import paint_ground, paint_sky
from .buildings import Draw, building_line
from .canvas import Canvas
from .classes import BICYCLIST, CAR, PEDESTRIAN
from .furniture import street_furniture
from .layout import Layout, draw_layout
from .truth import Truth

_SUPERSAMPLING = 2
#: Above this many pixels the still picture is drawn at its own size, to stay within a small device's memory.
_SUPERSAMPLED_PIXELS = 1920 * 1080
_FIRST_INSTANCE = 16
#: Chosen so that seed 0, the default, is a busy street by day.
_SEED_OFFSET = 22
_SMALLEST_BOX_PX = 4
_NOISE_SIZE = 64

#: x0, y0, x1, y1 in whole pixels inside the frame.
Region = tuple[int, int, int, int]


class StreetScene:
    """A street camera whose every frame is a pure function of (seed, index, size, fps).

    What stands still is drawn once, on creation (about a second at 1280x720); a frame draws what moves. Instances may
    be shared by threads: `render` changes nothing.

    Args:
        size_wh: width and height of the frames in pixels, each at least 64.
        seed: picks the street, its light, its camera and its traffic.
        fps: frames per second; traffic moves at its own speed whatever the rate.
    """

    def __init__(self, size_wh: tuple[int, int], seed: int = 0, fps: float = 25.0):
        self.size_wh = size_wh
        self.seed = seed
        self.fps = fps
        random = np.random.RandomState((seed + _SEED_OFFSET) % 2**32)
        self._layout = draw_layout(random, size_wh)
        parked = _parked_cars(random, self._layout)
        self._movers = _movers(random, self._layout)
        self._class_of_id = np.arange(256, dtype=np.uint8)
        for i, actor in enumerate(parked + self._movers):
            self._class_of_id[_FIRST_INSTANCE + i] = actor.class_id
        self._first_mover = _FIRST_INSTANCE + len(parked)
        self._parked_regions: dict[int, Region] = {}
        for i, actor in enumerate(parked):
            seen = extent(actor, 0.0, self._layout.view)
            region = None if seen is None else self._region(seen[0])
            if region is not None:
                self._parked_regions[_FIRST_INSTANCE + i] = region
        self._image, self._ids, self._depth = self._paint_still(random, parked)
        self._noise = _noise_tile(random, size_wh)

    def render(self, index: int) -> tuple[np.ndarray, Truth]:
        """Frame `index` >= 0.

        Returns:
            image: (H, W, 3) uint8 BGR.
            truth: label map (H, W) uint8 of `STREET_CLASSES` ids and boxes of cars, pedestrians and bicyclists, drawn
                around the visible pixels; objects less than 4 pixels wide or high have none.
        """
        image, ids = self._image.copy(), self._ids.copy()
        time_s = index / self.fps
        canvas = Canvas(image, ids, smooth=True)
        present = []
        for i, actor in enumerate(self._movers):
            seen = extent(actor, time_s, self._layout.view)
            if seen is not None:
                present.append((seen[1], i, actor, seen[0]))
        regions = dict(self._parked_regions)
        for near, i, actor, box in sorted(present, key=lambda item: -item[0]):
            region = self._region(box)
            if region is not None:
                regions[self._first_mover + i] = region
                self._draw_behind(canvas, actor, time_s, self._first_mover + i, near, region)
        self._add_noise(image, index)
        label_map = cv2.LUT(ids, self._class_of_id)
        xyxy, class_id = self._boxes(ids, regions)
        return image, Truth(label_map, xyxy, class_id)

    def _region(self, box: np.ndarray) -> Region | None:
        """The part of the frame that a (2, 2) box of pixels covers, with a margin for rounded lines."""
        width, height = self.size_wh
        x0, y0 = max(0, int(box[0, 0]) - 2), max(0, int(box[0, 1]) - 2)
        x1, y1 = min(width, int(box[1, 0]) + 3), min(height, int(box[1, 1]) + 3)
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def _draw_behind(
        self, canvas: Canvas, actor: Actor, time_s: float, label: int, near: float, region: Region
    ) -> None:
        """Draws a mover, then puts back what stands nearer to the camera."""
        x0, y0, x1, y1 = region
        hidden = (self._depth[y0:y1, x0:x1] < near).view(np.uint8)
        some = bool(hidden.any())
        if some:
            image, ids = canvas.image[y0:y1, x0:x1].copy(), canvas.ids[y0:y1, x0:x1].copy()
        draw_actor(actor, time_s, self._layout.view, self._layout.light, canvas, label)
        if some:
            cv2.copyTo(image, hidden, canvas.image[y0:y1, x0:x1])
            cv2.copyTo(ids, hidden, canvas.ids[y0:y1, x0:x1])

    def _paint_still(
        self, random: np.random.RandomState, parked: list[Actor]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, ids and depth of all that stands still, drawn larger and reduced."""
        width, height = self.size_wh
        s = _SUPERSAMPLING if width * height <= _SUPERSAMPLED_PIXELS else 1
        layout = replace(self._layout, view=self._layout.view.scaled(s))
        image = np.empty((height * s, width * s, 3), np.uint8)
        ids = np.empty((height * s, width * s), np.uint8)
        depth = np.empty((height * s, width * s), np.float32)
        canvas = Canvas(image, ids, smooth=s == 1, depth=depth)
        paint_sky(random, layout, canvas)
        paint_ground(random, layout, canvas)
        items = building_line(random, layout) + street_furniture(random, layout)
        for i, actor in enumerate(parked):
            seen = extent(actor, 0.0, layout.view)
            if seen is not None:
                items.append((seen[1], _parked_item(actor, layout, _FIRST_INSTANCE + i, seen[1])))
        for _, draw in sorted(items, key=lambda item: -item[0]):
            draw(canvas)
        seen_image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        seen_image = cv2.GaussianBlur(seen_image, (0, 0), random.uniform(0.35, 0.7))
        return np.asarray(seen_image), np.ascontiguousarray(ids[::s, ::s]), np.ascontiguousarray(depth[::s, ::s])

    def _add_noise(self, image: np.ndarray, index: int) -> None:
        width, height = self.size_wh
        dx, dy = np.random.RandomState((self.seed * 7919 + index) % (2**32)).randint(0, _NOISE_SIZE, 2)
        tile = self._noise[dy : dy + height, dx : dx + width]
        cv2.add(image, tile, dst=image, dtype=cv2.CV_8U)

    def _boxes(self, ids: np.ndarray, regions: dict[int, Region]) -> tuple[np.ndarray, np.ndarray]:
        xyxy, class_id = [], []
        for label, (x0, y0, x1, y1) in regions.items():
            x, y, w, h = cv2.boundingRect(cv2.inRange(ids[y0:y1, x0:x1], label, label))
            if min(w, h) >= _SMALLEST_BOX_PX:
                xyxy.append((x0 + x, y0 + y, x0 + x + w, y0 + y + h))
                class_id.append(self._class_of_id[label])
        return np.array(xyxy, np.float32).reshape(-1, 4), np.array(class_id, np.int64)


def _parked_item(actor: Actor, layout: Layout, label: int, near: float) -> Draw:
    def draw(canvas: Canvas) -> None:
        canvas.z = near
        draw_actor(actor, 0.0, layout.view, layout.light, canvas, label)

    return draw


def _noise_tile(random: np.random.RandomState, size_wh: tuple[int, int]) -> np.ndarray:
    """Sensor noise, (H + 64, W + 64, 3) int8, to be cut out at another place for each frame."""
    width, height = size_wh
    grain = random.normal(0, random.uniform(1.0, 3.5), (height + _NOISE_SIZE, width + _NOISE_SIZE, 1))
    color = random.normal(0, 0.8, (height + _NOISE_SIZE, width + _NOISE_SIZE, 3))
    return np.clip(np.rint(grain + color), -30, 30).astype(np.int8)


def _parked_cars(random: np.random.RandomState, layout: Layout) -> list[Actor]:
    cars = []
    for side in (-1, 1):
        if not layout.parked[side > 0]:
            continue
        z = random.uniform(3, 12)
        if not layout.camera_is_high and layout.view.x * side > layout.road_half - 2.4:
            z += 9.0
        while z < 70:
            body = BODIES[random.choice(len(BODIES), p=[0.35, 0.22, 0.16, 0.15, 0.12, 0.0])]
            length = body_length(body)
            if not (layout.crossing_z and abs(z + length / 2 - layout.crossing_z) < 5 + length / 2):
                x = side * (layout.road_half - 1.1 + random.uniform(-0.1, 0.1))
                # The sign of a speed of zero still says which end faces the camera.
                speed = 0.0 * layout.direction(side)
                cars.append(Actor(CAR, x, z + length / 2, speed, (0, 1), draw_looks(random), body=body))
            z += length + random.choice([random.uniform(0.7, 1.6), random.uniform(4, 20)], p=[0.7, 0.3])
    return cars


def _movers(random: np.random.RandomState, layout: Layout) -> list[Actor]:
    actors = []
    for side in (-1, 1):
        way = layout.direction(side)
        speed = way * random.uniform(5.5, 12.0)
        x = layout.lane_x(side)
        z, last = random.uniform(6, 22), 180.0
        while z < last - 14:
            body = BODIES[random.choice(len(BODIES), p=[0.33, 0.23, 0.16, 0.15, 0.09, 0.04])]
            actors.append(Actor(CAR, x, z, speed, (-12.0, last), draw_looks(random), body=body))
            z += body_length(body) + random.uniform(7, 45)
        outer = layout.road_half - (2.6 if layout.parked[side > 0] else 0.7)
        for _ in range(random.randint(0, 3)):
            actors.append(
                Actor(BICYCLIST, side * outer, random.uniform(6, 60), way * random.uniform(3.5, 5.5), (-2.0, 110.0),
                      draw_looks(random))
            )  # fmt: skip
        for _ in range(random.randint(2, 9)):
            x_walk = side * (layout.road_half + random.uniform(0.7, layout.pavement[side > 0] - 0.4))
            actors.append(
                Actor(PEDESTRIAN, x_walk, random.uniform(4, 45), random.choice([-1, 1]) * random.uniform(0.9, 1.6),
                      (1.0, 75.0), draw_looks(random))
            )  # fmt: skip
    if layout.crossing_z is not None:
        reach = (-layout.edge(-1) + 0.5, layout.edge(1) - 0.5)
        for _ in range(random.randint(1, 6)):
            z = layout.crossing_z + random.uniform(-1.2, 1.2)
            actors.append(
                Actor(PEDESTRIAN, random.uniform(*reach), z, random.uniform(0.9, 1.6), reach,
                      draw_looks(random), crossing=True)
            )  # fmt: skip
        if random.rand() < 0.5:
            actors.append(
                Actor(BICYCLIST, random.uniform(-3, 3), layout.crossing_z + 2.5, random.uniform(2.5, 4.5),
                      reach, draw_looks(random), crossing=True)
            )  # fmt: skip
    return actors
