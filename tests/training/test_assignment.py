import pytest
import torch

from sparsevit_training.assignment import Assignment, assign, generalized_iou, pairwise_iou, stack_objects

LOCATIONS = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0], [28.0, 4.0]])
STRIDES = torch.full((4,), 8.0)


def run(truth, classes, boxes=None, logits=None, count=1):
    truth = torch.tensor(truth, dtype=torch.float32).reshape(-1, 4)
    logits = torch.zeros(4, 2) if logits is None else torch.tensor(logits)
    boxes = torch.cat([LOCATIONS - 6, LOCATIONS + 6], 1) if boxes is None else torch.tensor(boxes)
    objects = stack_objects([(truth, torch.tensor(classes, dtype=torch.int64))], torch.device("cpu"))
    return Assignment(*(t[0] for t in assign(logits[None], boxes[None], LOCATIONS, STRIDES, objects, count)))


def test_images_do_not_see_each_other():
    """Of different numbers of objects, each gets what it gets alone."""
    generator = torch.Generator().manual_seed(0)
    truths = []
    for count in (3, 0, 1):
        corners = torch.tensor([24.0, 4.0]) * torch.rand(count, 2, generator=generator)
        boxes = torch.cat([corners, corners + 4 + 8 * torch.rand(count, 2, generator=generator)], 1)
        truths.append((boxes, torch.randint(2, (count,), generator=generator)))
    logits = torch.randn(3, 4, 2, generator=generator)
    boxes = torch.cat([LOCATIONS - 6, LOCATIONS + 6], 1) + torch.randn(3, 4, 4, generator=generator)
    device = torch.device("cpu")
    together = assign(logits, boxes, LOCATIONS, STRIDES, stack_objects(truths, device), 2)
    assert (together.weights.sum(1) > 0).tolist() == [True, False, True]
    for i, truth in enumerate(truths):
        alone = assign(logits[i : i + 1], boxes[i : i + 1], LOCATIONS, STRIDES, stack_objects([truth], device), 2)
        assert torch.equal(alone.scores[0], together.scores[i]) and torch.equal(alone.weights[0], together.weights[i])
        answering = alone.weights[0] > 0
        assert torch.equal(alone.boxes[0, answering], together.boxes[i, answering])


def test_nothing_to_find_is_all_background():
    found = run([], [])
    assert found.scores.sum() == 0 and found.weights.sum() == 0 and found.boxes.shape == (4, 4)


def test_one_location_answers_for_an_object_with_its_overlap():
    found = run([[6, -2, 18, 10]], [1])  # exactly the second location's box
    assert found.weights.tolist() == [0, 1, 0, 0]
    assert found.scores.tolist() == [[0, 0], [0, 1], [0, 0], [0, 0]]
    assert found.boxes[1].tolist() == [6, -2, 18, 10]


def test_the_better_score_wins_between_equal_boxes():
    boxes = [[0.0, 0, 32, 8]] * 4
    found = run([[0, 0, 32, 8]], [0], boxes, [[0.0, 0], [0.0, 0], [2.0, 0], [0.0, 3]])
    assert found.weights.nonzero().flatten().tolist() == [2]


def test_several_locations_share_an_object_less_aligned_ones_less():
    boxes = [[0.0, 0, 32, 8], [0.0, 0, 30, 8], [0.0, 0, 20, 8], [100.0, 0, 101, 1]]
    found = run([[0, 0, 32, 8]], [0], boxes, count=3)
    assert found.weights[0] == 1 and 1 > found.weights[1] > found.weights[2] > 0 == found.weights[3]


def test_a_location_takes_the_object_it_overlaps_most():
    found = run([[6, -2, 18, 10], [6, -2, 24, 10]], [0, 1], count=4)
    assert found.boxes[1].tolist() == [6, -2, 18, 10] and found.scores[1, 0] == 1 and found.scores[1, 1] == 0


def test_only_locations_near_the_object_answer():
    boxes = [[20.0, 0, 32, 8]] * 4
    found = run([[20, 0, 32, 8]], [0], boxes, count=4)
    assert (found.weights[:2] == 0).all() and (found.weights[3] > 0)


def test_an_object_smaller_than_a_cell_is_answered_for():
    found = run([[13, 3, 15, 5]], [0], count=1)  # no location's centre lies inside
    assert found.weights.nonzero().flatten().tolist() == [1]


@pytest.mark.parametrize(
    ("a", "b", "iou", "giou"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1, 1),
        ([0, 0, 2, 2], [1, 0, 3, 2], 1 / 3, 1 / 3),
        ([0, 0, 1, 1], [2, 0, 3, 1], 0, -1 / 3),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7, 1 / 7 - 2 / 9),
    ],
)
def test_overlaps(a, b, iou, giou):
    a, b = torch.tensor([a], dtype=torch.float32), torch.tensor([b], dtype=torch.float32)
    assert pairwise_iou(a, b).item() == pytest.approx(iou)
    assert generalized_iou(a, b).item() == pytest.approx(giou)
    assert pairwise_iou(a[:0], b).shape == (0, 1)
