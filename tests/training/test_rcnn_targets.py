import math

import pytest
import torch

from sparsevit_exporter.heads.boxes import decode_boxes
from sparsevit_exporter.heads.roi import STDS
from sparsevit_exporter.heads.rpn import RPNHead
from sparsevit_training.rcnn_targets import (
    ANCHORS,
    NOTHING,
    REGIONS,
    UNASKED,
    Sampling,
    encode_boxes,
    masks_within,
    match,
    sample,
)


def test_where_no_object_is_every_box_answers_for_nothing():
    assert match(torch.rand(3, 4), torch.zeros(0, 4), ANCHORS).tolist() == [NOTHING] * 3


@pytest.mark.parametrize(
    ("shift", "overlaps", "owner"),
    [
        (0.0, ANCHORS, 0),
        (1.0, ANCHORS, 0),  # 9 of 11: above 0.7
        (4.0, ANCHORS, UNASKED),  # 6 of 14
        (6.0, ANCHORS, NOTHING),  # 4 of 16
        (3.0, REGIONS, 0),  # 7 of 13
        (4.0, REGIONS, NOTHING),
    ],
)
def test_the_overlap_decides_what_a_box_answers_for(shift, overlaps, owner):
    objects = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    boxes = torch.tensor([[shift, 0.0, 10.0 + shift, 10.0], [0.0, 0.0, 10.0, 10.0]])
    assert match(boxes, objects, overlaps).tolist() == [owner, 0]


def test_an_object_that_nothing_overlaps_enough_has_the_boxes_that_overlap_it_most():
    objects = torch.tensor([[0.0, 0.0, 10.0, 10.0], [100.0, 0.0, 110.0, 10.0]])
    boxes = torch.tensor([[4.0, 0, 14, 10], [0, 4, 10, 14], [5, 0, 15, 10], [108, 0, 118, 10]])
    assert match(boxes, objects, ANCHORS).tolist() == [0, 0, UNASKED, NOTHING]  # the second object's best is below 0.3


def test_a_sample_has_a_share_of_objects_and_is_filled_up_with_nothing():
    torch.manual_seed(0)
    owner = torch.tensor([2, NOTHING, UNASKED, 0, 1] * 10)
    positive, negative = sample(owner, Sampling(12, 0.25))
    assert len(set(positive.tolist())) == 3 and len(set(negative.tolist())) == 9
    assert (owner[positive] >= 0).all() and (owner[negative] == NOTHING).all()
    positive, negative = sample(owner[:5], Sampling(12, 0.5))
    assert sorted(positive.tolist()) == [0, 3, 4] and negative.tolist() == [1]


@pytest.mark.parametrize("stds", [STDS, (1.0, 1.0, 1.0, 1.0)])
def test_offsets_are_those_that_decoding_turns_back(stds):
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(2, 20, 2, generator=generator) * 40
    boxes, targets = torch.cat([low, low + 2 + torch.rand(2, 20, 2, generator=generator) * 50], -1)
    found = decode_boxes(boxes, encode_boxes(boxes, targets, stds), stds, (200, 200))
    torch.testing.assert_close(found, targets, rtol=1e-5, atol=1e-4)


def test_anchors_lie_where_the_published_ones_do():
    fine, coarse = RPNHead(4, (4, 8)).anchors([(2, 3), (1, 1)], torch.device("cpu"))
    assert fine.shape == (18, 4) and coarse.shape == (3, 4)
    side = 16 * math.sqrt(2)
    assert fine[0].tolist() == pytest.approx([-side, -side / 2, side, side / 2])
    assert fine[1].tolist() == [-16, -16, 16, 16]
    assert fine[(1 * 3 + 2) * 3 + 1].tolist() == [8 - 16, 4 - 16, 8 + 16, 4 + 16]
    assert coarse[1].tolist() == [-32, -32, 32, 32]


def test_a_box_holds_its_part_of_the_mask():
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, :10] = True
    masks[1, :, 15:] = True
    boxes = torch.tensor([[0.0, 0, 30, 20], [0, 0, 30, 20], [0, 5, 10, 9], [-10, 0, 10, 20]])
    found = masks_within(masks, torch.tensor([0, 1, 0, 0]), boxes, 4)
    assert found[0].tolist() == [[1] * 4] * 2 + [[0] * 4] * 2
    assert found[1].tolist() == [[0, 0, 1, 1]] * 4
    assert found[2].tolist() == [[1] * 4] * 4
    assert found[3].tolist() == [[0, 0, 1, 1]] * 2 + [[0] * 4] * 2, "nothing is outside of the image"
    assert masks_within(masks, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), 4).shape == (0, 4, 4)
