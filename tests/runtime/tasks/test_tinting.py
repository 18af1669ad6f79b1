import numpy as np
import pytest

from sparsevit_runtime.tasks.tinting import coverage, outline_object, tint_object


def half_plane(slope: float, steepness: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that pass the threshold at a slanted edge, and each pixel's distance from it, inside above 0."""
    y, x = np.mgrid[:60, :80]
    distance = (y - 30 - slope * (x - 40)) / np.hypot(1, slope)
    return (0.5 + steepness * distance).clip(0, 1).astype(np.float32), distance


@pytest.mark.parametrize("slope", [0.0, 0.8, -0.45])
@pytest.mark.parametrize("steepness", [0.02, 0.1, 0.3])
def test_an_edge_is_a_pixel_wide_however_soft_the_model_is(slope, steepness):
    probabilities, distance = half_plane(slope, steepness)
    share = coverage(probabilities, 0, 60)[1:-1, 1:-1]
    wanted = np.clip(distance + 0.5, 0, 1)[1:-1, 1:-1]
    assert np.abs(share - wanted).max() < 0.1
    assert share[wanted > 0.99].min() > 0.95 and share[wanted < 0.01].max() < 0.05


def test_strips_are_parts_of_the_whole():
    probabilities = np.random.RandomState(0).random_sample((37, 20)).astype(np.float32)
    whole = coverage(probabilities, 0, 37)
    strips = [coverage(probabilities, y, 5) for y in range(0, 37, 5)]
    np.testing.assert_allclose(np.concatenate(strips), whole, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_flat_mask_is_nothing_or_all(value):
    canvas = np.full((9, 7, 3), 100, np.uint8)
    tint_object(canvas, canvas.copy(), np.full((9, 7), value, np.float32), (0, 0, 255), 0.5)
    assert np.abs(canvas.astype(int) - ([50, 50, 178] if value else [100] * 3)).max() <= 1


def test_an_outline_follows_holes_too():
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    mask[15:25, 15:25] = False
    canvas = np.zeros((40, 40, 3), np.uint8)
    outline_object(canvas, mask, (0, 255, 0), 1)
    drawn = canvas[..., 1] > 0
    assert drawn[5, 5:35].all() and drawn[14, 16:24].all() and not drawn[8:12, 8:12].any()
