import math

import pytest
import torch

from sparsevit_training.datasets import FIRST_GROUP, IGNORE
from sparsevit_training.losses import SegmentationLoss, class_weights, lovasz_softmax, self_distillation


@pytest.mark.parametrize("power", [0.0, 0.4, 1.0])
def test_class_weights_average_to_one_over_the_pixels(power):
    counts = torch.tensor([900.0, 90.0, 10.0])
    weights = class_weights(counts, power)
    assert torch.isclose((weights * counts / counts.sum()).sum(), torch.tensor(1.0))
    assert weights[2] / weights[0] == pytest.approx(90**power, rel=1e-5)


def test_classes_never_seen_weigh_as_the_rarest():
    weights = class_weights(torch.tensor([90.0, 10.0, 0.0]), 0.5)
    assert weights[2] == weights[1] > weights[0]
    assert class_weights(torch.zeros(3), 0.5).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("labels", "predicted", "expected"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 0.0),
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        # class 0: 1 of 3 in the union, class 1: 2 of 3
        ([0, 0, 1, 1], [0, 1, 1, 1], 1 - (1 / 2 + 2 / 3) / 2),
    ],
)
def test_lovasz_of_hard_predictions_is_one_minus_the_mean_iou(labels, predicted, expected):
    probabilities = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float()
    assert lovasz_softmax(probabilities, torch.tensor(labels)).item() == pytest.approx(expected, abs=1e-6)


def test_lovasz_without_pixels_is_zero():
    assert lovasz_softmax(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).item() == 0


def logits_of(labels: torch.Tensor, classes: int, certainty: float) -> torch.Tensor:
    quarter = labels[:, ::4, ::4].long().clamp(max=classes - 1)
    return torch.nn.functional.one_hot(quarter, classes).permute(0, 3, 1, 2) * certainty


def test_void_pixels_do_not_count():
    torch.manual_seed(0)
    labels = torch.zeros(2, 16, 16, dtype=torch.uint8)
    labels[:, :, 8:] = 1
    loss = SegmentationLoss(torch.ones(3), 0.0, 0.5)
    logits = torch.randn(2, 3, 4, 4)
    void = labels.clone()
    void[1] = IGNORE
    alone = loss(logits[:1], labels[:1])
    assert torch.isclose(loss(logits, void), alone)
    assert not torch.isclose(loss(logits, labels), alone)


def test_all_void_gives_zero_with_a_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    value = SegmentationLoss(torch.ones(3), 0.1, 0.5)(logits, torch.full((1, 16, 16), IGNORE, dtype=torch.uint8))
    value.backward()
    assert value.item() == 0 and logits.grad.abs().sum() == 0


def test_better_predictions_cost_less():
    labels = torch.zeros(1, 32, 32, dtype=torch.uint8)
    labels[:, 16:] = 2
    loss = SegmentationLoss(torch.ones(3), 0.0, 1.0)
    values = [loss(logits_of(labels, 3, c), labels).item() for c in (0.0, 2.0, 8.0)]
    assert values[0] > values[1] > values[2] > 0
    assert values[0] == pytest.approx(math.log(3) + 2 / 3, rel=0.1)


def test_heavier_classes_pull_harder():
    labels = torch.zeros(1, 16, 16, dtype=torch.uint8)
    labels[:, :, 8:] = 1
    wrong_on_one = torch.zeros(1, 2, 4, 4)
    wrong_on_one[:, 0] = 3.0
    even = SegmentationLoss(torch.tensor([1.0, 1.0]), 0.0, 0.0)(wrong_on_one, labels)
    heavy = SegmentationLoss(torch.tensor([1.0, 4.0]), 0.0, 0.0)(wrong_on_one, labels)
    assert heavy > even


def test_self_distillation_is_zero_for_equal_answers_and_the_divergence_otherwise():
    torch.manual_seed(0)
    logits, dense, even = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5), torch.ones(3)
    assert self_distillation(dense + 7, dense, even).item() == pytest.approx(0, abs=1e-6)  # a shift changes nothing
    p, q = dense.softmax(1), logits.softmax(1)
    divergence = (p * (p / q).log()).sum(1)  # (2, 4, 5)
    assert self_distillation(logits, dense, even).item() == pytest.approx(divergence.mean().item(), rel=1e-5)
    weights = torch.tensor([1.0, 0.0, 5.0])  # by what the dense pass says
    expected = (weights[dense.argmax(1)] * divergence).mean().item()
    assert self_distillation(logits, dense, weights).item() == pytest.approx(expected, rel=1e-5)


def test_a_group_is_learned_by_the_summed_probability_of_its_classes():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4, 4)
    loss = SegmentationLoss(torch.tensor([1.0, 2.0, 4.0]), 0.0, 0.0, [[0], [1, 2]])
    labels = torch.full((1, 16, 16), FIRST_GROUP + 1, dtype=torch.uint8)
    fine = torch.nn.functional.interpolate(logits, (8, 8), mode="bilinear").softmax(1)
    assert torch.isclose(loss(logits, labels), -(fine[:, 1] + fine[:, 2]).log().mean())
    one, both = labels.clone().fill_(FIRST_GROUP), labels.clone()
    both[:, 8:] = FIRST_GROUP  # half of the pixels, each a third of the weight of a pixel of the other group
    top, bottom = loss(logits[:, :, :2], labels[:, :8]), loss(logits[:, :, 2:], one[:, 8:])
    assert torch.isclose(loss(logits, both), (3 * top + bottom) / 4, atol=0.05)


def test_groups_of_one_class_are_learned_as_the_class():
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 16, 16), dtype=torch.uint8)
    logits = torch.randn(2, 3, 4, 4)
    loss = SegmentationLoss(torch.tensor([1.0, 2.0, 4.0]), 0.0, 0.0, [[0], [1], [2]])
    mixed = torch.cat([labels[:1], labels[1:] + FIRST_GROUP])
    assert torch.isclose(loss(logits, mixed), loss(logits, labels))
    assert loss(logits, torch.full_like(labels, IGNORE)) == 0
