import numpy as np
import pytest
import torch

from sparsevit_exporter import folding, windows

MEAN, STD = (10.0, 20.0, 30.0), (40.0, 50.0, 60.0)


@pytest.mark.parametrize("centred", [False, True])
def test_pixels_are_normalised_by_the_weight_and_that_is_undone(centred):
    weight, bias = torch.randn(8, 3, 4, 4), torch.randn(8)
    folded, shift = folding.fold_pixels(weight, bias, MEAN, STD, centred)
    frame = torch.randint(0, 256, (4, 4, 3)).float()  # BGR
    normalised = (frame.flip(-1) - torch.tensor(MEAN)) / torch.tensor(STD)
    expected = (weight * normalised.permute(2, 0, 1)).sum((1, 2, 3)) + bias
    if centred:
        frame = frame - torch.tensor(MEAN).flip(0)
    torch.testing.assert_close(folded @ frame.flatten() + shift, expected, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(folding.unfold_pixels(folded, shift, MEAN, STD, centred), (weight, bias), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_attentions_scale_goes_into_the_query():
    for qkv in (torch.randn(24, 8), torch.randn(24)):
        folded = folding.fold_scale(qkv, heads=2)
        torch.testing.assert_close(folded[:8], qkv[:8] / 2.0)  # four channels a head
        assert torch.equal(folded[8:], qkv[8:])
        torch.testing.assert_close(folding.unfold_scale(folded, heads=2), qkv)


def test_merged_channels_change_places():
    reference = torch.arange(12)  # c*4 + g of three channels
    assert folding.fold_merge(reference).tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert torch.equal(folding.unfold_merge(folding.fold_merge(reference)), reference)


@pytest.mark.parametrize("kinds", [(0,), (0, 1, 2, 3), (3,)], ids=str)
def test_a_bias_table_comes_back_from_masked_pairs(kinds):
    """One window that wraps around in both directions masks pairs of every long offset, but not all pairs of it."""
    table = torch.from_numpy(np.random.RandomState(0).uniform(-3, 3, (49, 2)).astype(np.float32))
    masks = windows.shift_masks(4, 2)[list(kinds)]
    bias = folding.fold_bias(table, 4, masks)
    assert bias.shape == (len(kinds), 2, 16, 16)
    assert torch.equal(bias[0, :, 0, 0], table[24])  # a token and itself: the middle of the table
    torch.testing.assert_close(folding.unfold_bias(bias, 4), table, rtol=0, atol=1e-5)
    torch.testing.assert_close(folding.unfold_bias(bias.squeeze(0), 4), table, rtol=0, atol=1e-5)
