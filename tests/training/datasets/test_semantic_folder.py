import logging
import re

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import DatasetError
from sparsevit_training.datasets import IGNORE, SemanticFolder, read_classes
from told import Told


def test_samples_in_order_with_void_ignored(folder):
    data = SemanticFolder(folder, ["train", "val"], void=[3])
    assert len(data) == 9 and data.skipped == ()
    assert [c.name for c in data.classes] == ["Ground", "Thing", "Rare sign"]
    assert data.classes[2].color == (0, 0, 250)
    for i in (0, 8):
        sample = data[i]
        assert sample.image.shape == (48, 64, 3) and sample.label.shape == (48, 64)
        assert (sample.label[-2:] == IGNORE).all() and set(np.unique(sample.label)) == {0, 1, 2, IGNORE}
    assert data[0].name == "000.png"


def test_without_void_all_classes_count(folder):
    assert len(SemanticFolder(folder, ["val"]).classes) == 4


@pytest.mark.parametrize(("offset", "exclude", "count"), [(0, False, 2), (1, False, 2), (0, True, 4), (5, False, 1)])
def test_slices(folder, offset, exclude, count):
    assert len(SemanticFolder(folder, ["train"], [3], every=4, offset=offset, exclude=exclude)) == count


def test_a_slice_and_its_rest_make_the_whole(folder):
    part, rest = (SemanticFolder(folder, ["train"], [3], every=4, exclude=e) for e in (False, True))
    names = sorted([part[i].name for i in range(len(part))] + [rest[i].name for i in range(len(rest))])
    assert names == [f"{i:03}.png" for i in range(6)]


def test_samples_beyond_the_cache_are_read_again(folder):
    data, cached = SemanticFolder(folder, ["train"], [3], cache_mb=0), SemanticFolder(folder, ["train"], [3])
    assert data[2] is not data[2] and cached[2] is cached[2]
    assert (data[2].image == cached[2].image).all() and (data[2].label == cached[2].label).all()


def break_image(folder):
    (folder / "train/images/001.png").write_bytes(b"\x89PNG cut off")


def break_label(folder):
    (folder / "train/labels/001.png").write_bytes(b"")


def remove_label(folder):
    (folder / "train/labels/001.png").unlink()


def colour_label(folder):
    cv2.imwrite(str(folder / "train/labels/001.png"), np.zeros((48, 64, 3), np.uint8))


def shrink_label(folder):
    cv2.imwrite(str(folder / "train/labels/001.png"), np.zeros((48, 32), np.uint8))


def unknown_class(folder):
    cv2.imwrite(str(folder / "train/labels/001.png"), np.full((48, 64), 9, np.uint8))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (break_image, "truncated"),
        (break_label, "0 bytes do not decode"),
        (remove_label, "no label"),
        (colour_label, "8-bit grey"),
        (shrink_label, "image is 64x48, its label 32x48"),
        (unknown_class, "outside the 3 classes"),
    ],
)
def test_bad_samples_are_named_and_skipped(folder, caplog, damage, reason):
    damage(folder)
    with caplog.at_level(logging.WARNING):
        data = SemanticFolder(folder, ["train"], void=[3])
    assert len(data) == 5
    assert "001.png" in data.skipped[0].name
    assert caplog.records and caplog.records[0].levelno == logging.WARNING
    assert re.search(reason, data.skipped[0].reason)


def test_nothing_usable_shows_what_was_expected(folder):
    for path in (folder / "val/labels").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"none of the 3 samples.*no label.*expected ROOT/classes.txt"):
        SemanticFolder(folder, ["val"], void=[3])


@pytest.mark.parametrize(
    ("splits", "void", "match"),
    [
        (["test"], [3], r"no images in .*test.*Found in .*\['classes.txt', 'train', 'val'\]"),
        (["train"], [1], "without a gap"),
    ],
)
def test_mismatched_folders(folder, splits, void, match):
    with pytest.raises(DatasetError, match=match):
        SemanticFolder(folder, splits, void)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "zero Sky 1 2 3\n",
        "0 1 2 3\n",
        "0 Sky 1 2\n",
        "0 Sky 1 2 256\n",
        "-1 Sky 1 2 3\n",
        "65536 Sky 1 2 3\n",
        "0 Sky 1 2 3\n0 Road 1 2 3\n",
        "0" * 5000 + " Sky 1 2 3\n",
    ],
    ids=lambda text: str(text)[:30],
)
def test_class_lists(tmp_path, text):
    path = tmp_path / "classes.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DatasetError, match=r"classes\.txt"):
        read_classes(path)


def test_a_class_list_with_a_byte_order_mark(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbf0 Sky 1 2 3\n")
    assert read_classes(tmp_path / "classes.txt")[0].name == "Sky"


def test_ids_of_one_name_are_one_class_to_a_model_and_refused_in_training(folder):
    (folder / "classes.txt").write_text("0 Ground 10 20 30\n1 Thing 200 0 0\n2 Thing 0 0 250\n3 Void 0 0 0\n")
    data = SemanticFolder(folder, ["val"], names=("Ground", "Thing"))
    assert set(np.unique(data[0].label)) == {0, 1, IGNORE} and data.absent == ()
    with pytest.raises(DatasetError, match=r"several classes named \['Thing'\]"):
        SemanticFolder(folder, ["val"], [3])


def test_a_class_that_no_label_has_is_said(folder, caplog):
    (folder / "classes.txt").write_text("0 Ground 1 2 3\n1 Thing 4 5 6\n2 Sign 0 0 9\n3 Tree 7 8 9\n4 Void 0 0 0\n")
    for path in folder.glob("*/labels/*.png"):
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(label == 3, 4, label).astype(np.uint8))
    data = SemanticFolder(folder, ["train"], [4])
    assert data.absent == ("Tree",) and "classes that no label has: Tree; the labels have 0, 1, 2, 4" in caplog.text


def test_progress_sees_every_sample(folder):
    told = Told()
    SemanticFolder(folder, ["train"], [3], progress=told)
    assert told.pieces == [("reading the data", 6)] and told.done == [1, 2, 3, 4, 5, 6]
