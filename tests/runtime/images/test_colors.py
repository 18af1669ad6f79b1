import numpy as np
import pytest

from sparsevit_runtime.images.colors import color_difference, lab_of

#: Of the 34 pairs that Sharma, Wu and Dalal published, those that each catch another mistake.
PUBLISHED = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1, 2), (50, 0, 0), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0011, -2.49), 4.7461),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ((90.9257, -0.5406, -0.9208), (88.6381, -0.8985, -0.7239), 1.5381),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("one", "other", "difference"), PUBLISHED)
def test_published_pairs(one, other, difference):
    assert color_difference(np.array(one), np.array(other)) == pytest.approx(difference, abs=1e-4)
    assert color_difference(np.array(other), np.array(one)) == pytest.approx(difference, abs=1e-4)


def test_a_colour_is_no_different_from_itself():
    lab = lab_of(np.array([[0, 0, 0], [255, 255, 255], [128, 128, 128], [255, 0, 0]]))
    assert color_difference(lab, lab).max() == 0
    np.testing.assert_allclose(lab[:, 0], [0, 100, 53.585, 53.24], atol=0.02)


def test_lightness_may_count_less():
    dark, light = np.array([30.0, 10, 10]), np.array([70.0, 10, 10])
    assert color_difference(dark, light, lightness_weight=2.0) == pytest.approx(color_difference(dark, light) / 2)
