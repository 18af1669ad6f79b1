import pytest
import torch

from exports import tiny_backbone
from networks import randomize
from sparsevit_exporter import InstanceModel
from sparsevit_exporter.tasks.instances import InstanceFeatures
from sparsevit_training.rcnn_loss import (
    Anchors,
    Regions,
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


def anchors_of(seen: InstanceFeatures) -> Anchors:
    sizes = [level.shape[2:] for level in seen.levels]
    boxes = torch.cat(seen.network.rpn_head.anchors(sizes, "cpu"))
    return Anchors(boxes, torch.cat(list(seen.logits), 1), torch.cat(list(seen.deltas), 1))


def losses_of(seen: InstanceFeatures, truths: list[Truth], count: int, regions: list[Regions]):
    shown = region_losses(seen.network.roi_head, seen.levels, truths, regions)
    return (*proposal_losses(anchors_of(seen), truths, count), *shown)


def test_every_weight_of_the_heads_learns(network):
    torch.manual_seed(0)
    network.requires_grad_(True).zero_grad()
    seen = seen_by(network)
    truths = [truth((4, 4, 36, 36), (30, 20, 62, 60)), truth((10, 0, 60, 20))]
    losses = losses_of(seen, truths, 64, choose_regions(*seen.proposals(40), truths, 32))
    assert all(loss.isfinite() and loss > 0 for loss in losses)
    sum(losses).backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert not without


def test_images_without_objects_teach_that_nothing_is_there(network):
    torch.manual_seed(0)
    seen, truths = seen_by(network), [truth(), truth()]
    regions = choose_regions(*seen.proposals(20), truths, 8)
    assert all(len(r.boxes) == 8 and not len(r.shows) for r in regions)
    score, box, classified, placed, shaped = losses_of(seen, truths, 16, regions)
    assert score > 0 and classified > 0 and (box, placed, shaped) == (0, 0, 0)


def test_regions_hold_the_objects_themselves(network):
    torch.manual_seed(0)
    truths = [truth((4, 4, 36, 36), (30, 20, 62, 60)), truth()]
    first, second = choose_regions(*seen_by(network).proposals(5), truths, 400)
    for i, box in enumerate(truths[0].boxes):
        assert any(torch.equal(first.boxes[j], box) for j in (first.shows == i).nonzero().squeeze(1))
    assert not len(second.shows) and 0 < len(second.boxes) <= 5


def test_a_pruned_pass_that_says_the_same_is_at_no_distance(network):
    seen, other = anchors_of(seen_by(network, 1)), anchors_of(network(torch.zeros(1, 3, SIZE, SIZE)))
    assert agreement(seen, seen).item() == pytest.approx(0, abs=1e-5)
    assert agreement(seen, other).item() > 1e-2
