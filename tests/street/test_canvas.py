from __future__ import annotations

import numpy as np
import pytest

from sparsevit_street.canvas import Canvas, Light, View

VIEW = View(width=100, height=80, focal=50.0, center_x=50.0, horizon=40.0, x=1.0, y=2.0, bend=0.0)


@pytest.mark.parametrize(
    ("point", "pixel"),
    [
        ((1.0, 2.0, 7.0), (50.0, 40.0)),
        ((3.0, 2.0, 10.0), (60.0, 40.0)),
        ((1.0, 0.0, 10.0), (50.0, 50.0)),
        ((1.0, 6.0, 10.0), (50.0, 20.0)),
    ],
)
def test_projection(point, pixel):
    np.testing.assert_allclose(VIEW.project([point]), [pixel])


def test_points_behind_the_camera_stay_finite():
    out = VIEW.project([(3.0, 0.0, -5.0), (3.0, 0.0, 0.0)])
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[0], out[1])


def test_a_bend_moves_far_points_and_spares_the_horizon():
    bent = View(100, 80, 50.0, 50.0, 40.0, 1.0, 2.0, 0.001)
    near, far = bent.project([(1.0, 0.0, 1.0), (1.0, 0.0, 100.0)]) - VIEW.project([(1.0, 0.0, 1.0), (1.0, 0.0, 100.0)])
    np.testing.assert_allclose(near, [0.05, 0.0])
    np.testing.assert_allclose(far, [5.0, 0.0])


def test_scaled_views_project_to_scaled_pixels():
    points = [(0.0, 0.0, 5.0), (2.0, 3.0, 40.0)]
    np.testing.assert_allclose(VIEW.scaled(2).project(points), 2 * VIEW.project(points))


def test_light():
    light = Light(gain=(1.0, 0.5, 0.25), haze=(200, 200, 200), haze_distance_m=100.0, sun=0.0)
    assert light.color((100, 100, 100)) == (100.0, 50.0, 25.0)
    assert light.color((1000, 0, 0)) == (255.0, 0.0, 0.0)
    np.testing.assert_allclose(light.color((0, 0, 0), 1e6), (200, 200, 200))
    texture = np.full((2, 2, 3), 100, np.uint8)
    np.testing.assert_allclose(light.image(texture, 50.0)[0, 0], light.color((100, 100, 100), 50.0), atol=1)


@pytest.mark.parametrize("smooth", [True, False])
def test_ids_take_the_shape_and_never_a_blend(smooth):
    canvas = Canvas(np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8), smooth)
    canvas.polygon(np.array([[5.3, 5.1], [30.7, 8.2], [20.4, 33.9]]), (200, 100, 50), 9)
    canvas.ellipse((30, 30), (5, 3), (1, 2, 3), 4)
    canvas.line((2, 38), (12, 38), 2.0, (5, 5, 5), 7)
    assert set(np.unique(canvas.ids)) == {0, 4, 7, 9}
    assert canvas.image[canvas.ids == 9].max() == 200


def test_shade_and_paint_spare_the_ids():
    canvas = Canvas(np.full((20, 20, 3), 100, np.uint8), np.zeros((20, 20), np.uint8), smooth=True)
    square = np.array([[2.0, 2.0], [12.0, 2.0], [12.0, 12.0], [2.0, 12.0]])
    canvas.shade(square, 0.5)
    canvas.paint(square + 30, (1, 1, 1))
    assert not canvas.ids.any()
    assert canvas.image[5, 5, 0] < 60
    assert canvas.image[18, 18, 0] == 100


@pytest.mark.parametrize("offset", [(0, 0), (-8, 4), (15, 15), (100, 0)])
def test_warp_fills_the_quadrilateral_and_clips(offset):
    canvas = Canvas(
        np.zeros((30, 30, 3), np.uint8), np.zeros((30, 30), np.uint8), False, np.zeros((30, 30), np.float32)
    )
    canvas.z = 3.0
    corners = np.array([[4.0, 4.0], [20.0, 6.0], [20.0, 18.0], [4.0, 22.0]]) + offset
    canvas.warp(np.full((8, 8, 3), 77, np.uint8), corners, 5)
    touched = canvas.ids == 5
    np.testing.assert_array_equal(touched, canvas.image[..., 0] == 77)
    np.testing.assert_array_equal(touched, canvas.depth == 3.0)
    assert touched.any() == (offset != (100, 0))
