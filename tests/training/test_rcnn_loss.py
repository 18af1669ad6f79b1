import pytest
import torch

from exports import tiny_backbone
from networks import randomize
from sparsevit_exporter import InstanceModel
from sparsevit_training.rcnn_loss import (
    Truth,
    agreement,
    choose_regions,
    proposal_losses,
    region_losses,
)

SIZE = 64


def truth(*boxes: tuple[int, int, int, int]) -> Truth:
    """Objects of classes 0, 1, ... whose masks fill their boxes."""
    masks = torch.zeros(len(boxes), SIZE, SIZE, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes):
        mask[y0:y1, x0:x1] = True
    return Truth(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.arange(len(boxes)), masks)


@pytest.fixture(scope="module")
def network() -> InstanceModel:
    return randomize(InstanceModel(tiny_backbone((1, 1, 1, 1)), 3, 8, 16), 3)


def seen_by(network: InstanceModel, images: int = 2):
    generator = torch.Generator().manual_seed(0)
    return network(torch.randn(images, 3, SIZE, SIZE, generator=generator))


def test_every_weight_of_the_heads_learns(network):
    torch.manual_seed(0)
    network.requires_grad_(True).zero_grad()
    seen = seen_by(network)
    truths = [truth((4, 4, 36, 36), (30, 20, 62, 60)), truth((10, 0, 60, 20))]
    regions = choose_regions(seen, truths, 40, 32)
    losses = (*proposal_losses(seen, truths, 64), *region_losses(seen, truths, regions))
    assert all(loss.isfinite() and loss > 0 for loss in losses)
    sum(losses).backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert not without


def test_images_without_objects_teach_that_nothing_is_there(network):
    torch.manual_seed(0)
    seen, truths = seen_by(network), [truth(), truth()]
    regions = choose_regions(seen, truths, 20, 8)
    assert all(len(r.boxes) == 8 and not len(r.shows) for r in regions)
    score, box = proposal_losses(seen, truths, 16)
    classified, placed, shaped = region_losses(seen, truths, regions)
    assert score > 0 and classified > 0 and (box, placed, shaped) == (0, 0, 0)


def test_regions_hold_the_objects_themselves(network):
    torch.manual_seed(0)
    truths = [truth((4, 4, 36, 36), (30, 20, 62, 60)), truth()]
    first, second = choose_regions(seen_by(network), truths, 5, 400)
    for i, box in enumerate(truths[0].boxes):
        assert any(torch.equal(first.boxes[j], box) for j in (first.shows == i).nonzero().squeeze(1))
    assert not len(second.shows) and 0 < len(second.boxes) <= 5


def test_a_pruned_pass_that_says_the_same_is_at_no_distance(network):
    seen, other = seen_by(network, 1), network(torch.zeros(1, 3, SIZE, SIZE))
    assert agreement(seen, seen).item() == pytest.approx(0, abs=1e-5)
    assert agreement(seen, other).item() > 1e-2
