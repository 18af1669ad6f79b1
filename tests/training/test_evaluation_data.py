from types import SimpleNamespace

import pytest

import detection_data
from sparsevit_runtime.errors import DatasetError
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
