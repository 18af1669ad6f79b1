"""The plan of one street, drawn from a seed: widths, camera, light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Light, View

#: Distance at which the built street ends, in metres.
FAR_M = 150.0


@dataclass(frozen=True)
class Layout:
    """Where things are, in metres from the centre line.

    Attributes:
        road_half: distance from the centre line to either kerb.
        pavement: width of the pavement on the left and on the right.
        parked: presence of parked cars along the left and the right kerb.
        crossing_z: distance of a zebra crossing, or None.
        keep_left: traffic keeps left.
        view: the camera.
        light: the illumination.
        camera_is_high: the camera hangs from a pole, so traffic passes below it.
    """

    road_half: float
    pavement: tuple[float, float]
    parked: tuple[bool, bool]
    crossing_z: float | None
    keep_left: bool
    view: View
    light: Light
    camera_is_high: bool

    def edge(self, side: int) -> float:
        """Distance from the centre line to the building line; side is -1 (left) or 1 (right)."""
        return self.road_half + self.pavement[side > 0]

    def lane_x(self, side: int) -> float:
        """Centre of the driving lane of a side."""
        free = self.road_half - (2.1 if self.parked[side > 0] else 0.3)
        return side * free * 0.52

    def direction(self, side: int) -> int:
        """1 when traffic on that side drives away from the camera, else -1."""
        return -side if self.keep_left else side


def draw_layout(random: np.random.RandomState, size_wh: tuple[int, int]) -> Layout:
    """A plausible street for a frame of (width, height) pixels."""
    width, height = size_wh
    high = random.rand() < 0.4
    road_half = random.uniform(4.0, 6.5)
    pavement = (random.uniform(1.8, 4.2), random.uniform(1.8, 4.2))
    parked = (road_half > 4.8 and random.rand() < 0.6, road_half > 4.8 and random.rand() < 0.6)
    focal = random.uniform(0.98, 1.25) * np.sqrt(width * height)
    if high:
        y = random.uniform(4.8, 6.5)
        x = random.uniform(-0.8, 0.8) * road_half
        horizon = random.uniform(0.16, 0.30) * height
    else:
        y = random.uniform(1.3, 1.9)
        x = random.choice([random.uniform(-0.25, 0.25), random.uniform(-1, 1) * (road_half - 0.6)])
        horizon = random.uniform(0.42, 0.54) * height
    center_x = (0.5 + random.uniform(-0.12, 0.12) + 0.14 * np.clip(x / road_half, -1, 1)) * width
    bend = random.choice([0.0, random.uniform(-0.0009, 0.0009)])
    view = View(width, height, float(focal), float(center_x), float(horizon), float(x), float(y), float(bend))
    return Layout(
        road_half=road_half,
        pavement=pavement,
        parked=parked,
        crossing_z=random.uniform(9.0, 28.0) if random.rand() < 0.55 else None,
        keep_left=bool(random.rand() < 0.5),
        view=view,
        light=_draw_light(random),
        camera_is_high=high,
    )


def _draw_light(random: np.random.RandomState) -> Light:
    kind = random.choice(["bright", "overcast", "low sun", "dusk"], p=[0.38, 0.3, 0.17, 0.15])
    jitter = random.uniform(0.95, 1.05, 3)
    if kind == "bright":
        gain, haze, sun = (
            np.array([1.0, 1.0, 1.0]) * random.uniform(0.85, 1.15),
            (235, 228, 220),
            random.uniform(0.6, 1),
        )
    elif kind == "overcast":
        gain, haze, sun = np.array([0.88, 0.84, 0.8]) * random.uniform(0.7, 1.0), (228, 226, 222), 0.15
    elif kind == "low sun":
        gain, haze, sun = np.array([0.72, 0.86, 1.0]) * random.uniform(0.75, 1.05), (190, 215, 240), 0.9
    else:
        gain, haze, sun = np.array([0.44, 0.40, 0.38]) * random.uniform(0.7, 1.2), (150, 140, 130), 0.05
    gain = gain * jitter
    return Light(tuple(gain.tolist()), haze, random.uniform(90, 320), float(sun))
