import numpy as np
import pytest

from sparsevit_runtime.tasks.backbone import Features


def test_features_check_their_maps():
    with pytest.raises(ValueError, match="map 1 must be"):
        Features(image_wh=(4, 4), maps=(np.zeros((1, 2, 2), np.float32), np.zeros((2, 2), np.float32)))


def test_features_are_saved_as_npz(tmp_path):
    maps = (np.ones((2, 3, 4), np.float32), np.zeros((4, 2, 2), np.float32))
    Features(image_wh=(4, 4), maps=maps).save(tmp_path / "maps.npz")
    saved = np.load(tmp_path / "maps.npz")
    assert saved.files == ["stage0", "stage1"]
    np.testing.assert_array_equal(saved["stage0"], maps[0])
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npz"]
