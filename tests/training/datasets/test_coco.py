import json

import cv2
import numpy as np
import pytest

import detection_data
from sparsevit_runtime.errors import DatasetError
from sparsevit_training.datasets import CocoBoxes


def rewrite(annotations, change):
    document = json.loads(annotations.read_text())
    change(document)
    annotations.write_text(json.dumps(document))


def test_boxes_lie_on_the_objects_and_classes_follow_the_names(files):
    data = CocoBoxes(*files, ("person", "car"))
    assert [c.name for c in data.classes] == ["person", "car"] and len(data) == 4 and data.skipped == ()
    assert data.image_ids == (10, 11, 12, 13)
    for i in range(len(data)):
        sample = data[i]
        assert len(sample.boxes) == 1 + i % 2 and sample.label is None
        for (x0, y0, x1, y1), kind in zip(sample.boxes.xyxy.astype(int), sample.boxes.classes, strict=True):
            assert (sample.image[y0:y1, x0:x1] == detection_data.COLORS[kind]).all()
    assert {a["category_id"] for a in data.document["annotations"]} <= {1, 2}
    assert [c["name"] for c in data.document["categories"]] == ["person", "car"]


def test_all_categories_unless_some_are_named(files):
    assert [c.name for c in CocoBoxes(*files).classes] == ["car", "person"]  # in the order of their ids
    cars = CocoBoxes(*files, ("car",))
    everything = CocoBoxes(*files)
    assert len(cars) == 4  # images without a car are samples too
    assert sum(len(cars[i].boxes) for i in range(4)) < sum(len(everything[i].boxes) for i in range(4))


def test_crowds_are_left_out_but_kept_for_the_evaluation(files):
    rewrite(files[0], lambda d: d["annotations"][0].update(iscrowd=1))
    data = CocoBoxes(*files)
    assert len(data[0].boxes) == 0
    assert [a["iscrowd"] for a in data.document["annotations"]] == [1, 0, 0, 0, 0, 0]


def test_a_subset_counts_its_images_alone(files):
    part = CocoBoxes(*files).subset([2, 0])
    assert len(part) == 2 and part.image_ids == (12, 10) and part[0].name == "2.png"


def remove_image(annotations, images):
    (images / "1.png").unlink()


def cut_image(annotations, images):
    (images / "1.png").write_bytes(b"\x89PNG")


def resize_image(annotations, images):
    cv2.imwrite(str(images / "1.png"), np.zeros((10, 10, 3), np.uint8))


def bad_box(annotations, images):
    rewrite(annotations, lambda d: d["annotations"][1].update(bbox=[1, 2, "x", 4]))


def box_outside(annotations, images):
    rewrite(annotations, lambda d: d["annotations"][1].update(bbox=[80, 2, 60, 4]))


def unknown_category(annotations, images):
    rewrite(annotations, lambda d: d["annotations"][1].update(category_id=3))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (remove_image, "No such file"),
        (cut_image, "truncated"),
        (resize_image, "10x10"),
        (bad_box, "expected x, y, width, height"),
        (box_outside, "reaches out"),
        (unknown_category, "category 3"),
    ],
)
def test_bad_samples_are_named_and_skipped(files, spoil, reason):
    spoil(*files)
    data = CocoBoxes(*files)
    assert len(data) == 3 and data.image_ids == (10, 12, 13)
    (skipped,) = data.skipped
    assert "1.png" in skipped.name and reason in skipped.reason
    assert {a["image_id"] for a in data.document["annotations"]} == {10, 12, 13}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not readable JSON"),
        ("{", "not readable JSON"),
        ("[]", "holds a list"),
        ('{"images": []}', "no list `categories`"),
        ('{"images": [], "categories": [{"id": 1, "name": "car"}], "annotations": []}', "lists no images"),
        ('{"images": [{"id": 1}], "categories": [], "annotations": []}', "needs"),
        ('{"images": [{"id": 1, "file_name": 5}], "categories": [], "annotations": []}', "file_name .text."),
        (
            '{"images": [{"id": [1], "file_name": "x.png"}], "categories": [], "annotations": []}',
            "id .a number or text",
        ),
        ('{"images": [{"id": 1, "file_name": "x.png"}], "categories": [], "annotations": []}', "no category"),
        (
            '{"images": [{"id": 1, "file_name": "x.png"}], "categories": [{"id": 1, "name": "car"}], '
            '"annotations": []}',
            "none of the 1 images",
        ),
    ],
)
def test_errors_show_what_was_expected(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        CocoBoxes(path, tmp_path)


def test_unknown_categories_name_the_known(files):
    with pytest.raises(DatasetError, match=r"\['lorry'\]; it knows \['car', 'person'\]"):
        CocoBoxes(*files, ("car", "lorry"))
