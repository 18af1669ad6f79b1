import json
import os

import cv2
import numpy as np
import pytest

import detection_data
from sparsevit_runtime.errors import DatasetError
from sparsevit_training.average_precision import average_precision
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


@pytest.mark.parametrize(
    ("spoil", "reason"), [(remove_image, "No such file"), (cut_image, "truncated"), (resize_image, "10x10")]
)
def test_bad_samples_are_named_and_skipped(files, spoil, reason):
    spoil(*files)
    data = CocoBoxes(*files)
    assert len(data) == 3 and data.image_ids == (10, 12, 13)
    (skipped,) = data.skipped
    assert "1.png" in skipped.name and reason in skipped.reason
    assert {a["image_id"] for a in data.document["annotations"]} == {10, 12, 13}


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"bbox": None}, "without a bbox"),
        ({"bbox": [1, 2, 3]}, "without a bbox"),
        ({"bbox": {"x": 1}}, "without a bbox"),
        ({"bbox": [1, 2, "x", 4]}, "not four numbers"),
        ({"bbox": [1, 2, None, 4]}, "not four numbers"),
        ({"bbox": [True, True, True, True]}, "not four numbers"),
        ({"bbox": [1, 2, NAN, 4]}, "not four numbers"),
        ({"bbox": [1, 2, INFINITE, 4]}, "not four numbers"),
        ({"bbox": [1, 2, 10**400, 4]}, "not four numbers"),
        ({"bbox": [1, 2, 0, 4]}, "no area"),
        ({"bbox": [1, 2, 5, -4]}, "no area"),
        ({"bbox": [120, 2, 60, 4]}, "outside the image"),
        ({"iscrowd": 2}, "neither 0 nor 1"),
        ({"iscrowd": [0]}, "neither 0 nor 1"),
        ({"category_id": 3}, "category that the file does not list"),
        ({"category_id": None}, "without image_id or category_id"),
        ({"category_id": [7]}, "without image_id or category_id"),
        ({"image_id": 99}, "image that the file does not list"),
        ({"image_id": None}, "without image_id or category_id"),
        ({"image_id": 1.5}, "without image_id or category_id"),
    ],
    ids=str,
)
def test_an_object_that_is_wrong_costs_itself(files, fields, reason, caplog):
    right = CocoBoxes(*files)
    rewrite(files[0], lambda d: d["annotations"][1].update(fields))
    data = CocoBoxes(*files)
    assert len(data) == 4 and data.skipped == ()
    assert [len(data[i].boxes) for i in range(4)] == [1, 1, 1, 2]
    np.testing.assert_array_equal(data[1].boxes.xyxy, right[1].boxes.xyxy[1:])
    assert len(data.document["annotations"]) == 5
    ((found, count),) = data.left_out.items()
    assert reason in found and count == 1 and f"1 object left out: 1 {found}" in caplog.text


def test_entries_that_are_no_objects_cost_themselves(files):
    rewrite(files[0], lambda d: d["annotations"].extend([None, 5, [], "x"]))
    data = CocoBoxes(*files)
    assert len(data.document["annotations"]) == 6 and list(data.left_out.values()) == [4]


@pytest.mark.parametrize("field", ["area", "iscrowd", "segmentation", "id"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_a_null_field_is_a_field_that_is_not_there(files, field, everywhere):
    def without(document):
        for o in document["annotations"] if everywhere else document["annotations"][:1]:
            o.pop(field)

    def null(document):
        for o in document["annotations"] if everywhere else document["annotations"][:1]:
            o[field] = None

    original = files[0].read_text()
    rewrite(files[0], without)
    expected = CocoBoxes(*files)
    files[0].write_text(original)
    rewrite(files[0], null)
    data = CocoBoxes(*files)
    assert data.document == expected.document and data.fingerprint() == expected.fingerprint()
    assert data.left_out == {}


def test_null_sizes_are_not_compared(files):
    rewrite(files[0], lambda d: d["images"][1].update(width=None, height="64"))
    assert len(CocoBoxes(*files)) == 4


@pytest.mark.parametrize("area", [-1, NAN, "12", True, [3], 10**400, float("inf")])
def test_an_area_that_is_none_is_that_of_the_box(files, area):
    expected = CocoBoxes(*files).document
    rewrite(files[0], lambda d: d["annotations"][0].update(area=area))
    assert CocoBoxes(*files).document == expected


@pytest.mark.parametrize(
    ("box", "clipped"),
    [([80, 2, 60, 4], (80, 2, 96, 6)), ([-6, -9, 20, 30], (0, 0, 14, 21)), ([-1e6, 5, 2e6, 5], (0, 5, 96, 10))],
)
def test_a_box_over_the_edge_is_clipped(files, box, clipped):
    rewrite(files[0], lambda d: d["annotations"][1].update(bbox=box))
    data = CocoBoxes(*files)
    assert len(data) == 4 and data.left_out == {} and tuple(data[1].boxes.xyxy[0]) == clipped
    x0, y0, x1, y1 = clipped
    assert data.document["annotations"][1]["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    assert any("1 of the boxes clipped" in note for note in data.notes)


def test_rounding_at_the_edge_stays_as_it_is(files):
    rewrite(files[0], lambda d: d["annotations"][1].update(bbox=[90, 2, 6.4, 4]))
    data = CocoBoxes(*files)
    assert data.document["annotations"][1]["bbox"] == [90, 2, 6.4, 4] and data.notes == ()


def test_two_categories_of_one_name_are_one(files):
    expected = CocoBoxes(*files, ("person", "car")).fingerprint()

    def double(document):
        document["categories"] += [{"id": 12, "name": "car"}, {"id": 1, "name": "person"}]
        document["annotations"][2]["category_id"] = {7: 12, 9: 1}[document["annotations"][2]["category_id"]]

    rewrite(files[0], double)
    data = CocoBoxes(*files, ("person", "car"))
    assert data.fingerprint() == expected and data.left_out == {}
    assert [c.name for c in CocoBoxes(*files).classes] == ["person", "car"]


def test_two_names_of_one_category_are_refused(files):
    rewrite(files[0], lambda d: d["categories"].append({"id": 7, "name": "lorry"}))
    with pytest.raises(DatasetError, match="two categories of id 7, 'car' and 'lorry'"):
        CocoBoxes(*files)


@pytest.mark.parametrize("new_id", [10, 77])
def test_an_image_listed_twice_counts_once(files, new_id):
    """With its objects, too, as merged files have them."""
    expected = CocoBoxes(*files)

    def double(document):
        image, first = document["images"][0], document["annotations"][0]
        document["images"].append({**image, "id": new_id})
        document["annotations"].append({**first, "id": 99, "image_id": new_id})

    rewrite(files[0], double)
    data = CocoBoxes(*files)
    assert data.document == expected.document and data.fingerprint() == expected.fingerprint()
    assert data.left_out == {"listed twice": 1}


def test_two_images_of_one_id_are_left_out(files):
    rewrite(files[0], lambda d: d["images"][1].update(id=10))
    data = CocoBoxes(*files)
    assert data.image_ids == (12, 13) and [s.name for s in data.skipped] == ["0.png (id 10)", "1.png (id 10)"]
    assert data.left_out == {"of an image that the file does not list": 2}


@pytest.mark.parametrize("form", [str, float])
@pytest.mark.parametrize("part", ["images", "annotations", "categories", "some"])
def test_ids_are_matched_whatever_their_type(files, form, part):
    expected = CocoBoxes(*files)

    def change(document):
        for entry in document["images"][:1] if part == "some" else document["images"] if part == "images" else []:
            entry["id"] = form(entry["id"])
        for entry in document["annotations"] if part == "annotations" else []:
            entry["image_id"], entry["category_id"] = form(entry["image_id"]), form(entry["category_id"])
        for entry in document["categories"] if part == "categories" else []:
            entry["id"] = form(entry["id"])

    rewrite(files[0], change)
    data = CocoBoxes(*files)
    assert data.fingerprint() == expected.fingerprint() and data.left_out == {}
    assert [(a["category_id"], a["bbox"]) for a in data.document["annotations"]] == [
        (a["category_id"], a["bbox"]) for a in expected.document["annotations"]
    ]
    assert all(isinstance(i, int) for i in data.image_ids)
    perfect = [{**a, "score": 0.9} for a in data.document["annotations"]]
    assert average_precision(data.document, perfect, data.image_ids).ap == pytest.approx(1)


def test_a_name_that_leads_out_of_the_folder_is_refused(files, tmp_path):
    secret = tmp_path / "secret.png"
    cv2.imwrite(str(secret), np.zeros((64, 96, 3), np.uint8))
    (files[1] / "link.png").symlink_to(secret)
    (files[1] / "elsewhere").symlink_to(tmp_path)
    original = files[0].read_text()
    for name in ("../secret.png", str(secret), "link.png", "elsewhere/secret.png", "a/../../secret.png"):
        files[0].write_text(original)
        rewrite(files[0], lambda d, name=name: d["images"][1].update(file_name=name))
        with pytest.raises(DatasetError, match=r"lies outside of .*images; put"):
            CocoBoxes(*files)


def test_links_inside_the_folder_and_a_link_to_it_are_read(files, tmp_path):
    (files[1] / "link.png").symlink_to(files[1] / "1.png")
    (tmp_path / "linked").symlink_to(files[1])
    rewrite(files[0], lambda d: d["images"][1].update(file_name="link.png"))
    assert len(CocoBoxes(files[0], tmp_path / "linked")) == 4


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 5000, "", ".", "pipe"])
def test_names_that_are_no_files_cost_their_image(files, name):
    os.mkfifo(files[1] / "pipe")
    rewrite(files[0], lambda d: d["images"][1].update(file_name=name))
    data = CocoBoxes(*files)
    assert len(data) == 3 and len(data.skipped) == 1


def test_an_image_entry_without_fields_costs_itself(files):
    rewrite(files[0], lambda d: d["images"].extend([None, {"id": 50}, {"id": None, "file_name": "x.png"}]))
    data = CocoBoxes(*files)
    assert len(data) == 4 and len(data.skipped) == 3


def test_categories_that_no_object_has_are_said(files, caplog):
    rewrite(files[0], lambda d: d["categories"].append({"id": 20, "name": "lorry"}))
    data = CocoBoxes(*files)
    assert data.absent == ("lorry",) and "classes without any object: lorry" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not readable JSON"),
        ("{", "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        ('{"images": ' + "9" * 5000 + "}", "not readable JSON"),
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


def test_a_device_in_place_of_annotations_is_not_read(tmp_path):
    (tmp_path / "annotations.json").symlink_to("/dev/zero")
    with pytest.raises(DatasetError, match="not readable JSON .it is a device"):
        CocoBoxes(tmp_path / "annotations.json", tmp_path)


def test_unknown_categories_name_the_known(files):
    with pytest.raises(DatasetError, match=r"\['lorry'\]; it knows \['car', 'person'\]"):
        CocoBoxes(*files, ("car", "lorry"))
