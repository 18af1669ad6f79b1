from __future__ import annotations

import numpy as np
import pytest

from sparsevit_street.actors import BICYCLIST, BODIES, CAR, PEDESTRIAN, Actor, draw_actor, extent
from sparsevit_street.canvas import Canvas, Light, View

VIEW = View(width=320, height=180, focal=250.0, center_x=160.0, horizon=80.0, x=0.0, y=1.6, bend=0.0004)
LIGHT = Light((1.0, 1.0, 1.0), (220, 220, 220), 200.0, 0.5)
LOOKS = (0.3, 0.6, 0.1, 0.9, 0.5, 0.2, 0.1, 0.7)


@pytest.mark.parametrize(
    ("speed", "time_s", "z", "way"),
    [(2.0, 0.0, 10.0, 1), (2.0, 3.0, 16.0, 1), (2.0, 10.0, 5.0, 1), (-2.0, 6.0, 23.0, -1)],
)
def test_traffic_runs_along_z_and_comes_round_again(speed, time_s, z, way):
    assert Actor(CAR, 1.5, 10.0, speed, (5.0, 30.0), LOOKS, body="van").at(time_s) == (1.5, pytest.approx(z), way)


@pytest.mark.parametrize(("time_s", "x", "way"), [(0.0, 0.0, 1), (3.0, 3.0, 1), (6.0, 2.0, -1), (10.0, -2.0, -1)])
def test_those_who_cross_turn_back(time_s, x, way):
    actor = Actor(PEDESTRIAN, 0.0, 12.0, 1.0, (-4.0, 4.0), LOOKS, crossing=True)
    assert actor.at(time_s) == (pytest.approx(x), 12.0, way)


def actors():
    for z in (2.0, 9.0, 60.0):
        for x in (-6.0, 0.5, 6.0):
            for speed in (-3.0, 3.0):
                for body in BODIES:
                    yield Actor(CAR, x, z, speed, (-10.0, 100.0), LOOKS, body=body)
                for crossing in (False, True):
                    span = (-9.0, 9.0) if crossing else (-10.0, 100.0)
                    yield Actor(PEDESTRIAN, x, z, speed, span, LOOKS, crossing=crossing)
                    yield Actor(BICYCLIST, x, z, speed, span, LOOKS, crossing=crossing)


def test_nothing_is_drawn_outside_the_extent():
    """The scene searches boxes and puts back what hides an actor inside its extent only."""
    for actor in actors():
        ids = np.zeros((180, 320), np.uint8)
        draw_actor(actor, 0.4, VIEW, LIGHT, Canvas(np.zeros((180, 320, 3), np.uint8), ids, smooth=True), 20)
        found = extent(actor, 0.4, VIEW)
        rows, columns = np.nonzero(ids)
        if found is None or not len(rows):
            continue
        (x0, y0), (x1, y1) = found[0]
        assert x0 - 2 <= columns.min() and columns.max() <= x1 + 2, actor
        assert y0 - 2 <= rows.min() and rows.max() <= y1 + 2, actor


def test_what_is_behind_the_camera_has_no_extent():
    assert extent(Actor(CAR, 0.0, -8.0, 0.0, (0, 1), LOOKS, body="saloon"), 0.0, VIEW) is None
