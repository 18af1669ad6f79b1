import numpy as np
import pytest

from sparsevit_runtime import Detections
from sparsevit_training.box_agreement import box_agreement, matches


def found(*boxes, classes=None, scores=None):
    count = len(boxes)
    return Detections(
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        confidence=np.array(scores or np.linspace(0.9, 0.5, count), np.float32),
        class_id=np.array(classes or [0] * count, np.int64),
        names=("a", "b"),
        image_wh=(100, 100),
    )


A, NEAR_A, B = (0, 0, 10, 10), (0, 0, 10, 8), (50, 50, 60, 60)


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        (found(), found(A), []),
        (found(A), found(), [-1]),
        (found(B, NEAR_A), found(A, B), [1, 0]),
        (found(NEAR_A, A), found(A), [0, -1]),  # the better score has it
        (found(A), found(A, classes=[1]), [-1]),
        (found((0, 0, 10, 4)), found(A), [-1]),
    ],
)
def test_which_object_each_is(ours, theirs, chosen):
    assert matches(ours, theirs).tolist() == chosen


def test_agreement_is_what_both_found_of_what_each_did():
    assert box_agreement([found(A, B), found()], [found(A), found(B)]) == pytest.approx(2 / 4)
    assert box_agreement([found()], [found()]) == 1.0
