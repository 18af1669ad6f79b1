import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import DatasetError
from sparsevit_training.datasets import FIRST_GROUP, IGNORE, CoarseFolder

GROUPS = {0: ["road"], 5: ["building", "tree"]}


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / "train" / name).mkdir(parents=True)
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"train/images/{i}.jpg"), np.full((4, 6, 3), 40 * i, np.uint8))
        label = np.array([[0, 5, 9, 255, 0, 0]], np.uint8).repeat(4, 0)
        cv2.imwrite(str(tmp_path / f"train/labels/{i}.png"), label)
    return tmp_path


def test_values_become_groups_and_others_are_void(folder):
    data = CoarseFolder(folder, ["train"], GROUPS)
    assert len(data) == 5 and data.classes == () and data.groups == (("road",), ("building", "tree"))
    assert data[0].label[0].tolist() == [FIRST_GROUP, FIRST_GROUP + 1, IGNORE, IGNORE, FIRST_GROUP, FIRST_GROUP]


def test_a_part_is_kept_out(folder):
    kept, watched = (CoarseFolder(folder, ["train"], GROUPS, every=4, exclude=exclude) for exclude in (True, False))
    assert [kept[i].name for i in range(3)] == ["1.jpg", "2.jpg", "3.jpg"]
    assert [watched[i].name for i in range(2)] == ["0.jpg", "4.jpg"]


def test_a_folder_of_no_usable_label_is_refused(folder):
    for path in (folder / "train/labels").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="none of the 5 samples"):
        CoarseFolder(folder, ["train"], GROUPS)
