import numpy as np
import pytest

from sparsevit_training.metrics import ConfusionMatrix

V = 255


@pytest.mark.parametrize(
    ("truth", "prediction", "iou", "miou", "accuracy"),
    [
        ([], [], [np.nan] * 3, np.nan, np.nan),
        ([V, V], [0, 1], [np.nan] * 3, np.nan, np.nan),
        ([0, 1, 2], [0, 1, 2], [1, 1, 1], 1, 1),
        # class 0: 2 of {3 true, 3 predicted} -> 2/4; class 1: 1 of {2, 2} -> 1/3; class 2 absent; void left out
        ([0, 0, 0, 1, 1, V, V], [0, 0, 1, 1, 0, 2, 2], [2 / 4, 1 / 3, np.nan], 5 / 12, 3 / 5),
        # a class predicted but never true counts as 0
        ([0, 0], [0, 2], [1 / 2, np.nan, 0], 1 / 4, 1 / 2),
    ],
)
def test_hand_computed(truth, prediction, iou, miou, accuracy):
    matrix = ConfusionMatrix(3)
    matrix.update(np.array(truth, np.uint8), np.array(prediction, np.uint8))
    np.testing.assert_allclose(matrix.iou, iou)
    np.testing.assert_allclose(matrix.miou, miou)
    np.testing.assert_allclose(matrix.pixel_accuracy, accuracy)


def test_updates_add_up():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 4, (2, 3, 8, 8), dtype=np.uint8)
    whole, parts = ConfusionMatrix(4), ConfusionMatrix(4)
    whole.update(truth, prediction)
    for t, p in zip(truth, prediction):
        parts.update(t, p)
    assert (whole.counts == parts.counts).all() and whole.counts.sum() == truth.size


@pytest.mark.parametrize(
    ("truth", "prediction", "match"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), "prediction is"),
        (np.array([0, 3]), np.array([0, 0]), "3 classes"),
        (np.array([0, 1]), np.array([0, 7]), "3 classes"),
    ],
)
def test_misuse(truth, prediction, match):
    with pytest.raises(ValueError, match=match):
        ConfusionMatrix(3).update(truth, prediction)
