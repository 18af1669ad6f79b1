import pytest
import torch

from sparsevit_exporter.heads.detection import RawDetections
from sparsevit_training.detection_loss import agreement, answer_distillation, assigned_loss, locations_of

LOCATIONS, STRIDES = locations_of(32, 64)
TRUTH = (torch.tensor([[10.0, 6, 30, 26]]), torch.tensor([1]))


def made(logit=-4.6, batch=1, boxes=None):
    logits = torch.full((batch, len(LOCATIONS), 3), logit)
    if boxes is None:
        boxes = torch.cat([LOCATIONS - 8, LOCATIONS + 8], 1).expand(batch, -1, -1).clone()
    return RawDetections(logits.requires_grad_(), boxes.requires_grad_())


def test_locations_of_all_levels():
    assert LOCATIONS.shape == (4 * 8 + 2 * 4 + 1 * 2, 2) and STRIDES.unique().tolist() == [8, 16, 32]
    assert LOCATIONS[0].tolist() == [4, 4] and LOCATIONS[-1].tolist() == [48, 16]
    assert len(locations_of(36, 60)[0]) == 5 * 8 + 3 * 4 + 2 * 2  # sizes round up, as the backbone's maps do


@pytest.mark.parametrize("count", [1, 10])
def test_descent_finds_the_object(count):
    raw = made()
    optimizer = torch.optim.Adam([raw.logits, raw.boxes], lr=0.3)
    first = None
    for _ in range(150):
        loss = sum(assigned_loss(raw, [TRUTH], LOCATIONS, STRIDES, count))
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first
    scores = raw.logits.detach()[0].sigmoid()
    best = scores.max(1).values.argsort(descending=True)
    assert scores[best[0]].argmax() == 1 and scores[best[0], 1] > 0.7
    assert (raw.boxes.detach()[0, best[0]] - TRUTH[0][0]).abs().max() < 1
    if count == 1:
        assert scores[best[1]].max() < 0.2  # speaks once


def test_images_without_annotation_teach_nothing():
    raw = made(batch=2)
    alone = assigned_loss(made(), [TRUTH], LOCATIONS, STRIDES, 1)
    both = assigned_loss(raw, [None, TRUTH], LOCATIONS, STRIDES, 1)
    torch.testing.assert_close(both, alone)
    sum(both).backward()
    assert raw.logits.grad[0].abs().sum() == 0 < raw.logits.grad[1].abs().sum()
    none = assigned_loss(raw, [None, None], LOCATIONS, STRIDES, 1)
    assert [v.item() for v in none] == [0, 0] and none[0].requires_grad


def test_an_empty_image_teaches_background():
    raw = made(logit=0.0)
    classified, boxed = assigned_loss(
        raw, [(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))], LOCATIONS, STRIDES, 1
    )
    classified.backward()
    assert classified > 0 == boxed and (raw.logits.grad > 0).all()


def test_a_teacher_answered_exactly_costs_nothing():
    raw = made(logit=-1.0)
    scores, boxes = raw.logits.detach().sigmoid(), raw.boxes.detach()
    classified, boxed = answer_distillation(raw, scores, boxes)
    assert classified.item() == pytest.approx(0, abs=1e-6) and boxed.item() == pytest.approx(0, abs=1e-6)
    classified, boxed = answer_distillation(raw, (scores + 0.4).clamp(max=1), boxes + 4)
    assert classified > 0 and boxed > 0


def test_boxes_matter_where_the_teacher_is_sure():
    raw = made(logit=-6.0)
    scores = torch.zeros_like(raw.logits)
    scores[0, 3, 1] = 0.9
    sum(answer_distillation(raw, scores, raw.boxes.detach() + 3)).backward()
    assert raw.boxes.grad[0].abs().sum(1).nonzero().flatten().tolist() == [3]
    assert raw.logits.grad[0, 3, 1] < 0 < raw.logits.grad[0, 3, 0]


def test_agreement_with_itself_and_another():
    raw = made(logit=0.5)
    assert sum(agreement(raw, made(logit=0.5))).item() == pytest.approx(0, abs=1e-5)
    assert agreement(raw, made(logit=2.0))[0] > 0
    assert agreement(raw, made(logit=0.5, boxes=raw.boxes.detach() + 5))[1] > 0
