import numpy as np

from sparsevit_training.datasets import IGNORE, SyntheticStreet


def test_frames_of_several_streets_with_labels():
    street = SyntheticStreet(scenes=2, frames_per_scene=2, size_wh=(160, 96), seed=5)
    assert len(street) == 4
    for i in range(4):
        assert street[i].image.shape == (96, 160, 3) and street[i].label.shape == (96, 160)
        found = set(np.unique(street[i].label).tolist())
        assert {0, 3} <= found <= {*range(len(street.classes)), IGNORE}
    assert (street[0].image != street[1].image).any() and (street[0].image != street[2].image).any()
    assert street[2].name.startswith("street seed 6")
    assert [c.name for c in street.classes][:4] == ["Sky", "Building", "Pole", "Road"]
