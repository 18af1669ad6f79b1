"""Everything that moves, and parked cars: how it is drawn and where it is at a time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .canvas import Canvas, Color, Light, View
from .classes import BICYCLIST, CAR, PEDESTRIAN

_PAINTS: tuple[Color, ...] = (
    (35, 35, 35), (60, 60, 62), (120, 118, 115), (165, 165, 165), (205, 205, 205), (230, 230, 230),
    (35, 30, 140), (45, 40, 110), (120, 60, 30), (150, 95, 50), (60, 80, 45), (40, 110, 150), (90, 110, 125),
)  # fmt: skip
_CLOTHES: tuple[Color, ...] = (
    (35, 32, 30), (60, 50, 45), (90, 60, 40), (130, 80, 50), (45, 45, 120), (60, 110, 70), (130, 130, 130),
    (190, 190, 195), (40, 90, 140), (110, 60, 110), (60, 150, 170),
)  # fmt: skip
_BUS_PAINTS: tuple[Color, ...] = ((40, 40, 170), (150, 90, 40), (60, 150, 70), (210, 215, 215))
_SKINS: tuple[Color, ...] = ((150, 175, 215), (110, 140, 190), (70, 95, 140), (50, 65, 95))

#: Length, width, body top, roof, cabin from, cabin to (shares of the length from the front), all metres.
_BODIES = {
    "hatchback": (3.9, 1.72, 0.88, 1.46, 0.26, 0.98),
    "saloon": (4.5, 1.78, 0.90, 1.42, 0.28, 0.84),
    "estate": (4.6, 1.80, 0.92, 1.48, 0.28, 0.99),
    "suv": (4.6, 1.88, 1.05, 1.75, 0.24, 0.98),
    "van": (5.2, 1.95, 1.15, 2.25, 0.14, 1.0),
    "bus": (10.5, 2.45, 1.15, 3.0, 0.0, 1.0),
}


@dataclass(frozen=True)
class Actor:
    """Something with an id of its own.

    Attributes:
        class_id: Car, Pedestrian or Bicyclist.
        x, z: position at time 0 in metres; z is the middle of the thing.
        speed: metres per second along z, or along x for those that cross.
        span: (first, last) coordinate of the path, which repeats.
        crossing: moves along x, there and back, instead of along z.
        looks: random numbers in [0, 1) that pick its size and colours.
        body: key of the car bodies, empty for people.
    """

    class_id: int
    x: float
    z: float
    speed: float
    span: tuple[float, float]
    looks: tuple[float, ...]
    crossing: bool = False
    body: str = ""

    def at(self, time_s: float) -> tuple[float, float, int]:
        """x and z in metres, and the direction of movement (1 or -1) along its axis."""
        first, last = self.span
        length = last - first
        if self.crossing:
            way = np.mod(self.x - first + self.speed * time_s, 2 * length)
            forth = way < length
            return float(first + (way if forth else 2 * length - way)), self.z, 1 if forth else -1
        z = first + np.mod(self.z - first + self.speed * time_s, length) if self.speed else self.z
        return self.x, float(z), 1 if self.speed >= 0 else -1


def draw_looks(random: np.random.RandomState) -> tuple[float, ...]:
    return tuple(random.random_sample(8).tolist())


def _choose(choices: tuple[Color, ...], number: float) -> Color:
    return choices[int(number * len(choices))]


def draw_actor(actor: Actor, time_s: float, view: View, light: Light, canvas: Canvas, label: int) -> None:
    """Draws an actor as it looks at a time; `label` goes to the canvas' ids."""
    x, z, way = actor.at(time_s)
    if actor.class_id == CAR:
        _car(actor, x, z, way, view, light, canvas, label)
    elif actor.class_id == PEDESTRIAN:
        _pedestrian(actor, x, z, way, time_s, view, light, canvas, label)
    else:
        _cyclist(actor, x, z, way, time_s, view, light, canvas, label)


def extent(actor: Actor, time_s: float, view: View) -> tuple[np.ndarray, float] | None:
    """Corners (2, 2) in pixels of a box around all that `draw_actor` draws, and the nearest z; None when behind."""
    x, z, _ = actor.at(time_s)
    if actor.class_id == CAR:
        length, width, _, roof, _, _ = _BODIES[actor.body]
        half_l, half_w, height, low = length / 2, width / 2 + 0.3, roof + 0.2, 0.35
    else:
        half_l, half_w, height, low = 0.3, 1.1, 2.2, 0.35
    near, far = z - half_l, z + half_l
    if far < 1.5:
        return None
    corners = [[x + sx * half_w, y, zz] for sx in (-1, 1) for y in (-low, height) for zz in (near, far)]
    points = view.project(corners)
    return np.stack([points.min(axis=0), points.max(axis=0)]), near


def _car(actor, x, z, way, view: View, light: Light, canvas: Canvas, label: int) -> None:
    looks = actor.looks
    length, width, belt, roof, cabin_from, cabin_to = _BODIES[actor.body]
    paint = np.array(_choose(_PAINTS, looks[0])) * (0.85 + 0.3 * looks[1])
    if actor.body == "bus":
        paint = np.array(_choose(_BUS_PAINTS, looks[0]))
    rear_visible = way > 0
    near, far = z - length / 2, z + length / 2
    left, right = x - width / 2, x + width / 2
    floor = 0.28
    distance = max(1.0, z)

    def tint(color, shade=1.0):
        return light.color(tuple(color), distance, shade)

    ground = view.project(
        [[left - 0.15, 0, near - 0.1], [right + 0.15, 0, near - 0.1], [right + 0.15, 0, far], [left - 0.15, 0, far]]
    )
    canvas.shade(ground, 0.55)

    # Which share of the length lies nearest to the camera depends on the driving direction.
    if rear_visible:
        cabin_near, cabin_far = near + (1 - cabin_to) * length, near + (1 - cabin_from) * length
        slope_near, slope_far = 0.35, 0.75
    else:
        cabin_near, cabin_far = near + cabin_from * length, near + cabin_to * length
        slope_near, slope_far = 0.75, 0.35
    if actor.body in ("van", "bus"):
        slope_near = slope_far = 0.12
    inset = 0.14 if actor.body not in ("van", "bus") else 0.04
    lower = [[left, 0, near], [right, 0, near], [right, 0, far], [left, 0, far]]
    points = np.array(
        [[px, floor, pz] for px, _, pz in lower]
        + [[px, belt, pz] for px, _, pz in lower]
        + [[left, belt, cabin_near], [right, belt, cabin_near], [right, belt, cabin_far], [left, belt, cabin_far]]
        + [
            [left + inset, roof, cabin_near + slope_near],
            [right - inset, roof, cabin_near + slope_near],
            [right - inset, roof, cabin_far - slope_far],
            [left + inset, roof, cabin_far - slope_far],
        ]
    )
    p = view.project(points)  # 0..3 floor, 4..7 belt, 8..11 cabin foot, 12..15 roof; each left near, right near, ...
    bend_x = view.x - view.bend * z * z
    side = 1 if right < bend_x else (-1 if left > bend_x else 0)
    glass = np.array([52, 48, 44]) * (0.8 + 0.6 * looks[2])

    for wx in (left + 0.1, right - 0.1):
        tyre = view.project([[wx - 0.1, 0.0, near + 0.3], [wx + 0.1, 0.0, near + 0.3],
                             [wx + 0.1, floor + 0.1, near + 0.3], [wx - 0.1, floor + 0.1, near + 0.3]])  # fmt: skip
        canvas.polygon(tyre, tint((22, 22, 22)), label)
    if side:
        quad = [1, 2, 6, 5] if side > 0 else [0, 3, 7, 4]
        canvas.polygon(p[quad], tint(paint, 0.82), label)
        wheel_x = right if side > 0 else left
        angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        for along in (0.19, 0.80):
            middle = near + along * length
            if middle < 1.0:
                continue
            for radius, color in ((0.33, (20, 20, 20)), (0.19, (120, 120, 122))):
                rim = np.stack(
                    [np.full(14, wheel_x), 0.33 + radius * np.sin(angle), middle + radius * np.cos(angle)], 1
                )
                canvas.polygon(view.project(rim), tint(color), label)
    canvas.polygon(p[[4, 5, 6, 7]], tint(paint, 1.08), label)
    canvas.polygon(p[[8, 9, 10, 11]], tint(paint, 0.9), label)
    if side:
        quad = [9, 10, 14, 13] if side > 0 else [8, 11, 15, 12]
        canvas.polygon(p[quad], tint(paint, 0.85), label)
        pane = p[quad]
        centre = pane.mean(axis=0)
        canvas.paint(centre + (pane - centre) * 0.82, tint(glass))
        if actor.body == "van":
            canvas.paint(centre + (pane - centre) * 0.98, tint(paint, 0.85))
    top = paint * 0.35 + 85 if actor.body == "bus" else paint * 1.12
    canvas.polygon(p[[12, 13, 14, 15]], tint(top), label)
    screen = p[[8, 9, 13, 12]]
    canvas.polygon(screen, tint(paint, 0.95), label)
    centre = screen.mean(axis=0)
    if not (actor.body == "van" and rear_visible):
        canvas.paint(centre + (screen - centre) * 0.86, tint(glass, 1.2))
    face = p[[4, 5, 1, 0]]
    canvas.polygon(face, tint(paint, 0.95), label)

    def on_face(u0, v0, u1, v1):
        corners = np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1]])
        across, down = face[1] - face[0], face[3] - face[0]
        return face[0] + corners[:, :1] * across + corners[:, 1:] * down

    if abs(face[1, 0] - face[0, 0]) < 5:
        return
    canvas.paint(on_face(0.0, 0.72, 1.0, 1.0), tint(paint, 0.6))
    canvas.paint(on_face(0.36, 0.58, 0.64, 0.74), tint((200, 215, 220) if not rear_visible else (60, 190, 215)))
    lamp = (40, 35, 175) if rear_visible else (215, 225, 230)
    canvas.paint(on_face(0.03, 0.16, 0.17, 0.48), tint(lamp))
    canvas.paint(on_face(0.83, 0.16, 0.97, 0.48), tint(lamp))
    if not rear_visible:
        canvas.paint(on_face(0.24, 0.22, 0.76, 0.46), tint((30, 30, 30)))


def _pedestrian(actor, x, z, way, time_s, view: View, light: Light, canvas: Canvas, label: int) -> None:
    looks = actor.looks
    m = view.scale_at(z)
    foot = view.project([[x, 0, z]])[0]
    height = 1.55 + 0.35 * looks[0]
    coat, trousers = (_choose(_CLOTHES, looks[i]) for i in (1, 2))
    skin, hair = _choose(_SKINS, looks[3]), (20 + 30 * looks[4], 20 + 45 * looks[4], 20 + 60 * looks[4])
    stride = abs(actor.speed) * 2.1
    phase = np.sin((time_s + 3 * looks[5]) * stride * 2)
    swing = 0.26 * phase if actor.crossing else 0.10 * phase
    lift = abs(phase) * 0.02

    def spot(dx, y):
        return foot[0] + dx * m, foot[1] - (y + lift) * m

    def tint(color, shade=1.0):
        return light.color(tuple(np.array(color) * shade), z)

    shadow = view.project(
        [[x - 0.35, 0, z - 0.2], [x + 0.35, 0, z - 0.2], [x + 0.35, 0, z + 0.25], [x - 0.35, 0, z + 0.25]]
    )
    canvas.shade(shadow, 0.4)
    hip, shoulder, head = 0.48 * height, 0.80 * height, 0.92 * height
    spread = 0.0 if actor.crossing else 0.09
    for sign in (-1, 1):
        ankle = spot(sign * (swing + spread), 0.05)
        canvas.line(spot(sign * spread * 0.8, hip), ankle, 0.15 * m, tint(trousers, 0.9 + 0.1 * sign), label)
        canvas.line(
            ankle, (ankle[0] + (way * 0.1 * m if actor.crossing else 0), ankle[1]), 0.1 * m, tint((25, 25, 25)), label
        )
    w = 0.15 if actor.crossing else 0.21
    torso = np.array([spot(-w, shoulder), spot(w, shoulder), spot(w * 0.95, hip - 0.08), spot(-w * 0.95, hip - 0.08)])
    canvas.polygon(torso, tint(coat), label)
    canvas.ellipse(spot(0, shoulder), (w * m, 0.07 * m), tint(coat), label)
    for sign in (-1, 1):
        hand = spot(sign * (w + 0.05) - sign * swing * 0.8, hip - 0.02)
        canvas.line(spot(sign * w * 0.9, shoulder - 0.03), hand, 0.09 * m, tint(coat, 0.8), label)
    canvas.ellipse(spot(0, head), (0.095 * m, 0.125 * m), tint(skin), label)
    canvas.ellipse(spot(-0.02 * way, head + 0.05), (0.10 * m, 0.085 * m), tint(hair), label)
    if looks[6] < 0.35:
        bag = np.array([spot(w, hip + 0.25), spot(w + 0.16, hip + 0.25), spot(w + 0.16, hip - 0.1), spot(w, hip - 0.1)])
        canvas.polygon(bag, tint(_choose(_CLOTHES, looks[7])), label)


def _cyclist(actor, x, z, way, time_s, view: View, light: Light, canvas: Canvas, label: int) -> None:
    looks = actor.looks
    m = view.scale_at(z)
    foot = view.project([[x, 0, z]])[0]
    coat = (60, 240, 210) if looks[0] < 0.2 else _choose(_CLOTHES, looks[1])
    trousers, skin = _choose(_CLOTHES, looks[2]), _choose(_SKINS, looks[3])
    helmet = tuple(30 + 200 * n for n in looks[4:7])
    pedal = time_s * abs(actor.speed) * 1.6 + 6 * looks[7]

    def spot(dx, y):
        return foot[0] + dx * m, foot[1] - y * m

    def tint(color, shade=1.0):
        return light.color(tuple(np.array(color) * shade), z)

    dark, frame = tint((25, 25, 25)), tint(tuple(20 + 180 * n for n in looks[5:8]))
    shadow = view.project([[x - 0.4, 0, z - 0.3], [x + 0.4, 0, z - 0.3], [x + 0.4, 0, z + 0.3], [x - 0.4, 0, z + 0.3]])
    canvas.shade(shadow, 0.4)
    if actor.crossing:
        for wx in (-0.52, 0.52):
            angle = np.linspace(0, 2 * np.pi, 17)
            rim = np.array([spot(wx + 0.34 * np.cos(a), 0.35 + 0.34 * np.sin(a)) for a in angle])
            for a, b in pairwise(rim):
                canvas.line(tuple(a), tuple(b), 0.05 * m, dark, label)
        joints = {k: spot(way * dx, y) for k, (dx, y) in
                  {"rear": (-0.52, 0.35), "seat": (-0.18, 0.92), "bar": (0.42, 0.98), "front": (0.52, 0.35),
                   "crank": (0.0, 0.32)}.items()}  # fmt: skip
        for a, b in (
            ("rear", "seat"),
            ("rear", "crank"),
            ("seat", "crank"),
            ("seat", "bar"),
            ("bar", "front"),
            ("crank", "bar"),
        ):
            canvas.line(joints[a], joints[b], 0.05 * m, frame, label)
        for half in (0, np.pi):
            shoe = spot(way * 0.16 * np.cos(pedal + half), 0.32 + 0.16 * np.sin(pedal + half))
            knee = spot(way * (0.16 + 0.06 * np.cos(pedal + half)), 0.72 + 0.08 * np.sin(pedal + half))
            canvas.line(spot(-0.16 * way, 0.98), knee, 0.15 * m, tint(trousers), label)
            canvas.line(knee, shoe, 0.12 * m, tint(trousers, 0.9), label)
        canvas.line(spot(-0.16 * way, 1.0), spot(0.12 * way, 1.45), 0.27 * m, tint(coat), label)
        canvas.line(spot(0.12 * way, 1.40), spot(0.42 * way, 1.02), 0.09 * m, tint(coat, 0.85), label)
        head = spot(0.22 * way, 1.66)
    else:
        canvas.line(spot(0, 0.03), spot(0, 0.68), 0.07 * m, dark, label)
        canvas.line(spot(-0.28, 1.0), spot(0.28, 1.0), 0.05 * m, dark, label)
        for sign in (-1, 1):
            up = 0.14 * np.sin(pedal + (0 if sign > 0 else np.pi))
            canvas.line(spot(sign * 0.10, 0.95), spot(sign * 0.15, 0.62 + up), 0.15 * m, tint(trousers), label)
            canvas.line(
                spot(sign * 0.15, 0.62 + up), spot(sign * 0.11, 0.28 + up), 0.12 * m, tint(trousers, 0.9), label
            )
            canvas.line(spot(sign * 0.18, 1.38), spot(sign * 0.27, 1.02), 0.09 * m, tint(coat, 0.85), label)
        torso = np.array([spot(-0.2, 1.45), spot(0.2, 1.45), spot(0.16, 0.92), spot(-0.16, 0.92)])
        canvas.polygon(torso, tint(coat), label)
        canvas.ellipse(spot(0, 1.45), (0.2 * m, 0.08 * m), tint(coat), label)
        head = spot(0, 1.64)
    canvas.ellipse(head, (0.095 * m, 0.12 * m), tint(skin), label)
    canvas.ellipse((head[0], head[1] - 0.06 * m), (0.115 * m, 0.08 * m), tint(helmet), label)


BODIES = tuple(_BODIES)


def body_length(body: str) -> float:
    return _BODIES[body][0]


__all__ = ["BICYCLIST", "BODIES", "CAR", "PEDESTRIAN", "Actor", "body_length", "draw_actor", "extent"]
