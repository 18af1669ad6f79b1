"""Biases of classes: found by trying, for labels that say a class and for labels that say a group."""

import pytest
import torch

from sparsevit_training.class_bias import Scores, tuned_bias


def scores(offset, groups=None):
    """Scores that tell three classes apart once `offset` is taken off."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (600,), generator=generator)
    logits = torch.nn.functional.one_hot(labels, 3).float() + torch.randn(600, 3, generator=generator) * 0.1
    return Scores(logits + torch.tensor(offset), labels if groups is None else groups[labels], groups)


@pytest.mark.parametrize("groups", [None, torch.tensor([0, 1, 1])], ids=["classes", "groups"])
def test_a_class_that_is_said_too_often_is_said_less_often(groups):
    found = scores([2.0, 0.0, 0.0], groups)
    bias = tuned_bias([found])
    assert found.miou(torch.zeros(3)) < 0.5 and found.miou(bias) > 0.99
    assert bias.sum().abs() < 1e-5 and bias[0] < -0.5


def test_what_one_data_set_gains_another_may_not_lose_more_of():
    one, other = scores([1.5, 0.0, 0.0]), scores([-1.5, 0.0, 0.0])
    bias = tuned_bias([one, other])
    means = [(one.miou(b) + other.miou(b)) / 2 for b in (torch.zeros(3), bias)]
    assert means[1] >= means[0]


def test_the_mean_iou_is_over_what_occurs():
    labels = torch.tensor([0, 0, 1, 1])
    logits = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0], [0, 1.0, 0]])
    assert Scores(logits, labels).miou(torch.zeros(3)) == pytest.approx((1 / 2 + 2 / 3) / 2)
