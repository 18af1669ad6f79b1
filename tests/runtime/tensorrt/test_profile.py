import pytest

import tiny
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import BuildError, PlanError
from sparsevit_runtime.tensorrt.profile import make_levels, make_profile


def card(**properties) -> ModelCard:
    return ModelCard.model_validate(tiny.card_document(**properties))


def test_keep_goes_from_no_window_to_all_of_them():
    profile = make_profile(card(hw=(32, 48)))
    assert profile["image"].min == profile["image"].opt == profile["image"].max == (1, 32, 48, 3)
    assert profile["keep"].model_dump() == {"min": (0, 0, 0), "opt": (9, 2, 2), "max": (24, 6, 6)}


def test_batches():
    image = make_profile(card(), (1, 2, 4))["image"]
    assert (image.min[0], image.opt[0], image.max[0]) == (1, 2, 4)


def test_a_normalized_input_has_its_channels_first():
    assert make_profile(card(layout="normalized"))["image"].max == (1, 3, 32, 48)


def test_a_fixed_export_has_no_keep():
    assert list(make_profile(card(fixed=((0.5, 0.5), (0.0,) * 4)))) == ["image"]


def test_levels_to_tune_for():
    assert make_levels(card(hw=(32, 48)), ()) == ()
    assert make_levels(card(hw=(32, 48)), (0, "0.6", 0.6, [0.6, 0.0])) == ((24, 6, 6), (9, 2, 2), (9, 6, 6))
    with pytest.raises(PlanError):
        make_levels(card(), (1.5,))
    with pytest.raises(BuildError, match="17 levels to tune for.*give 16 at most"):
        make_levels(card(hw=(320, 480)), [i / 20 for i in range(17)])
    with pytest.raises(BuildError, match="a fixed export of one sparsity"):
        make_levels(card(fixed=((0.5, 0.5), (0.0,) * 4)), (0.5,))


@pytest.mark.parametrize("batch", [(0, 1, 1), (2, 1, 4), (1, 4, 2), (-1, -1, -1)])
def test_wrong_batches(batch):
    with pytest.raises(BuildError, match="at least 1, and none may descend"):
        make_profile(card(), batch)
