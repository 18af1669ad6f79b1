import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import detection_data
from sparsevit_runtime.errors import DatasetError
from sparsevit_training.datasets import IGNORE
from sparsevit_training.evaluation_data import open_evaluation_data

SEGMENTER = SimpleNamespace(task="segmentation", class_names=("Ground", "Thing", "Rare sign"))
DETECTOR = SimpleNamespace(task="detection", class_names=("person", "car"))


@pytest.mark.parametrize(("split", "count"), [(None, 3), ("train", 6), (["train", "val"], 9)])
def test_label_maps(folder, split, count, caplog):
    data = open_evaluation_data(SEGMENTER, folder, split)  # has no split `test`
    assert len(data) == count and tuple(c.name for c in data.classes) == SEGMENTER.class_names
    assert "Void" in caplog.text


def test_boxes_in_both_layouts(tmp_path):
    detection_data.write_coco(tmp_path / "coco/annotations/instances_val.json", tmp_path / "coco/val", 3)
    detection_data.write_coco(tmp_path / "coco/annotations/instances_train.json", tmp_path / "coco/train", 5)
    detection_data.write_coco(tmp_path / "flat/annotations.json", tmp_path / "flat/images", 2)
    assert len(open_evaluation_data(DETECTOR, tmp_path / "coco")) == 3
    assert len(open_evaluation_data(DETECTOR, tmp_path / "coco", "train")) == 5
    assert len(open_evaluation_data(DETECTOR, tmp_path / "coco", ["train"])) == 5
    data = open_evaluation_data(DETECTOR, tmp_path / "flat")
    assert len(data) == 2 and tuple(c.name for c in data.classes) == ("person", "car")


def test_classes_are_found_by_name_whatever_their_ids(folder):
    """As if void came first and the others in another order: the same truth."""
    straight = open_evaluation_data(SEGMENTER, folder, "val")
    expected = [straight[i].label for i in range(len(straight))]
    moved = {0: 2, 1: 3, 2: 1, 3: 0}
    lines = [line.split(maxsplit=1) for line in (folder / "classes.txt").read_text().splitlines()]
    (folder / "classes.txt").write_text("".join(f"{moved[int(i)]} {rest}\n" for i, rest in lines))
    table = np.array([moved.get(i, i) for i in range(256)], np.uint8)
    for path in (folder / "val" / "labels").glob("*.png"):
        cv2.imwrite(str(path), table[cv2.imread(str(path), cv2.IMREAD_UNCHANGED)])
    data = open_evaluation_data(SEGMENTER, folder, "val")
    assert data.name == "tiny val" and tuple(c.name for c in data.classes) == SEGMENTER.class_names
    for i, label in enumerate(expected):
        np.testing.assert_array_equal(data[i].label, label)


def test_a_class_that_the_data_lacks_is_not_scored(folder, caplog):
    model = SimpleNamespace(task="segmentation", class_names=("Ground", "Lorry", "Thing"))
    data = open_evaluation_data(model, folder)
    assert data.unscored == {"Lorry"} and data.scored == ("Ground", "Thing") and data.absent == ()
    assert tuple(c.name for c in data.classes) == model.class_names
    assert set(np.unique(data[0].label)) == {0, 2, IGNORE}  # numbered as the model does
    assert "not scored, for the data does not know them: Lorry" in caplog.text


def test_data_with_none_of_the_classes(folder, tmp_path):
    model = SimpleNamespace(task="segmentation", class_names=("Lorry", "Bus"))
    with pytest.raises(DatasetError, match=r"no class \['Lorry', 'Bus'\]"):
        open_evaluation_data(model, folder)
    detection_data.write_coco(tmp_path / "annotations.json", tmp_path / "images", 2)
    model = SimpleNamespace(task="detection", class_names=("Lorry", "Bus"))
    with pytest.raises(DatasetError, match=r"no category \['Lorry', 'Bus'\]"):
        open_evaluation_data(model, tmp_path)


def test_chosen_classes(tmp_path):
    detection_data.write_coco(tmp_path / "annotations.json", tmp_path / "images", 2)
    model = SimpleNamespace(task="detection", class_names=("lorry", "person", "car"))
    assert open_evaluation_data(model, tmp_path).scored == ("person", "car")
    data = open_evaluation_data(model, tmp_path, classes=["car", "lorry"])
    assert data.scored == ("car",) and data.unscored == {"lorry", "person"}
    with pytest.raises(DatasetError, match=r"no class \['bus'\]; it knows \['lorry', 'person', 'car'\]"):
        open_evaluation_data(model, tmp_path, classes=["bus"])
    with pytest.raises(DatasetError, match=r"none of the classes \['lorry'\]"):
        open_evaluation_data(model, tmp_path, classes=["lorry"])


@pytest.mark.parametrize(
    ("annotations", "images", "data", "split", "name"),
    [
        ("annotations/val.json", "images/val", "", "val", "set val"),
        ("annotations/instances_val2017.json", "val2017", "", "val", "set val2017"),
        ("annotations/instances_val2017.json", "val2017", "", None, "set val2017"),
        ("annotations/instances_val2017.json", "val2017", "", "val2017", "set val2017"),
        ("annotations/instances_default.json", "images", "", None, "set"),
        ("annotations/instances_default.json", "images/default", "", None, "set"),
        ("test/_annotations.coco.json", "test", "", None, "set test"),
        ("valid/_annotations.coco.json", "valid", "", "valid", "set valid"),
        ("labels.json", "data", "", None, "set"),
        ("result.json", "images", "", None, "set"),
        ("_annotations.coco.json", "", "", None, "set"),
        ("my labels.json", "images", "", None, "set my labels"),
        ("my labels.json", "images", "my labels.json", None, "set my labels"),
        ("annotations/mine.json", "pictures", "annotations/mine.json", None, None),
        ("annotations/mine.json", "mine", "annotations/mine.json", None, "set mine"),
        ("annotations/person_keypoints_x.json", "images", "annotations/person_keypoints_x.json", None, None),
    ],
)
def test_annotations_of_other_names(tmp_path, annotations, images, data, split, name):
    root = tmp_path / "set"
    detection_data.write_coco(root / annotations, root / images, 2)
    if images == "pictures":  # found by no name: the file names say it
        document = json.loads((root / annotations).read_text())
        for entry in document["images"]:
            entry["file_name"] = f"pictures/{entry['file_name']}"
        (root / annotations).write_text(json.dumps(document))
    found = open_evaluation_data(DETECTOR, root / data, split)
    assert len(found) == 2 and (name is None or found.name == name)


def test_several_files_are_for_the_user_to_choose(tmp_path):
    for name in ("first", "second"):
        detection_data.write_coco(tmp_path / f"{name}.json", tmp_path / "images", 2)
    with pytest.raises(DatasetError, match=r"\['first.json', 'second.json'\]; name one of these files"):
        open_evaluation_data(DETECTOR, tmp_path)
    assert len(open_evaluation_data(DETECTOR, tmp_path / "second.json")) == 2


def test_masks_where_there_is_no_folder_of_labels(tmp_path):
    detection_data.write_coco(tmp_path / "annotations/instances_val.json", tmp_path / "val", 3)
    model = SimpleNamespace(task="segmentation", class_names=("nothing", "person"))
    data = open_evaluation_data(model, tmp_path)
    assert len(data) == 3 and tuple(c.name for c in data.classes) == model.class_names


@pytest.mark.parametrize(
    ("model", "split", "message"),
    [
        (SEGMENTER, None, "classes.txt"),
        (DETECTOR, None, "no annotations of test or val"),
        (DETECTOR, "other", "no annotations of other"),
        (DETECTOR, ["a", "b"], "one split at a time"),
        (SimpleNamespace(task="backbone", class_names=()), None, "no metric"),
    ],
)
def test_errors(tmp_path, model, split, message):
    with pytest.raises(DatasetError, match=message):
        open_evaluation_data(model, tmp_path, split)
