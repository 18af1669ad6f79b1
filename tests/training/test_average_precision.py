import math

import pytest

from sparsevit_training.average_precision import average_precision

TRUTH = {
    "info": {},
    "images": [{"id": 1, "width": 100, "height": 100}, {"id": 2, "width": 100, "height": 100}],
    "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "never"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [20, 20, 50, 30], "area": 1500, "iscrowd": 0},
        {"id": 3, "image_id": 2, "category_id": 2, "bbox": [0, 60, 99, 39], "area": 3861, "iscrowd": 1},
    ],
}


def record(image, category, box, score=0.9):
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


RIGHT = [record(1, 1, [10, 10, 40, 40]), record(2, 2, [20, 20, 50, 30])]


@pytest.mark.parametrize(
    ("records", "ap", "ap50"),
    [
        ([], 0, 0),
        (RIGHT, 1, 1),
        (RIGHT[:1], 0.5, 0.5),
        ([*RIGHT, record(2, 2, [10, 62, 50, 30], 0.95)], 1, 1),  # in the crowd: neither right nor wrong
        ([*RIGHT, record(1, 1, [50, 50, 40, 40], 0.95)], 0.75, 0.75),  # a better score on nothing
        ([record(1, 1, [10, 10, 40, 28]), RIGHT[1]], (0.5 * 0.4 + 0.5), 1),  # IoU 0.7 holds at 0.5 to 0.65 or 0.7
    ],
)
def test_figures(records, ap, ap50):
    found = average_precision(TRUTH, records)
    assert found.ap50 == pytest.approx(ap50, abs=1e-3)
    assert found.ap == pytest.approx(ap, abs=0.051)
    assert math.isnan(found.per_class[2])
    assert sum(found.per_class[:2]) / 2 == pytest.approx(found.ap)
    assert sum(found.per_class50[:2]) / 2 == pytest.approx(found.ap50)


def test_some_images_alone():
    found = average_precision(TRUTH, RIGHT[:1], image_ids=[1])
    assert found.ap == pytest.approx(1) and math.isnan(found.per_class[1])


def test_nothing_to_find_has_no_figure(capsys):
    found = average_precision({**TRUTH, "annotations": []}, RIGHT)
    assert math.isnan(found.ap) and math.isnan(found.ap50)
    assert capsys.readouterr().out == ""  # pycocotools prints


def test_the_threshold_of_the_best_f1():
    """Two right ones at 0.9 and 0.4, wrong ones at 0.4 and 0.2; a score takes all that have it."""
    wrong = [record(2, 1, [0, 0, 9, 9], 0.2), record(2, 1, [50, 0, 9, 9], 0.4)]
    best = average_precision(TRUTH, [RIGHT[0], {**RIGHT[1], "score": 0.4}, *wrong]).best
    assert (best.threshold, best.f1) == (0.4, pytest.approx(2 * 2 / (3 + 2)))
    assert (best.precision, best.recall) == (pytest.approx(2 / 3), 1.0)
    crowd = record(2, 2, [0, 60, 99, 39], 0.95)
    assert average_precision(TRUTH, [*RIGHT, crowd]).best.f1 == pytest.approx(1)
    assert average_precision(TRUTH, RIGHT, names=["a"]).best.recall == 1
    assert average_precision(TRUTH, []).best is None
