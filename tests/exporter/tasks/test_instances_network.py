"""Mask R-CNN against the rules in NumPy, and against what the published network computed."""

import os

import numpy as np
import pytest
import torch

import mask_rcnn_golden as golden
from exports import tiny_backbone
from networks import randomize
from rcnn_oracle import Oracle
from sparsevit_exporter import InstanceModel, SparseViT

#: Pixels by which a box may be off.
SAME_PIXELS = 1e-3


def spread_network(seed: int, num_classes: int) -> InstanceModel:
    """A small network that finds some of its classes: untouched, every score would be one over their number."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = randomize(InstanceModel(tiny_backbone((1, 2, 1, 1)), num_classes, 8, 16), seed)
    with torch.no_grad():
        network.rpn_head.rpn_cls.weight.mul_(4)
        network.roi_head.bbox_head.fc_cls.weight.mul_(6)
    return network


@pytest.mark.parametrize(
    ("seed", "num_classes", "size", "ratio"), [(0, 3, (72, 100), 0.0), (1, 1, (64, 96), 0.5), (2, 5, (97, 50), 0.7)]
)
def test_heads_compute_what_the_rules_say(seed, num_classes, size, ratio):
    network = spread_network(seed, num_classes)
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        seen = network(images, ratios=[[ratio] * depth for depth in network.backbone.depths])
        proposals, scores = seen.proposals(60)
        boxes, box_scores, classes = seen.detections(60, 20, 0.1)
        masks = seen.masks(boxes, box_scores, classes)
    assert seen.levels[0].shape[2:] == (-(-size[0] // 32) * 8, -(-size[1] // 32) * 8)
    state = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    oracle = Oracle(state, [level[0].double().numpy() for level in seen.levels], size)
    expected = oracle.proposals(60)
    found = int((scores[0] >= 0).sum())
    assert found == len(expected)
    np.testing.assert_allclose(scores[0, :found], expected[:, 4], atol=1e-5)
    np.testing.assert_allclose(proposals[0, :found], expected[:, :4], atol=SAME_PIXELS)
    detections, labels = oracle.detections(expected, 20, 0.1)
    found = int((box_scores[0] > 0).sum())
    assert 0 < found == len(labels)
    np.testing.assert_array_equal(classes[0, :found], labels)
    np.testing.assert_allclose(box_scores[0, :found], detections[:, 4], atol=1e-4)
    np.testing.assert_allclose(boxes[0, :found], detections[:, :4], atol=2 * SAME_PIXELS)
    for i in range(min(found, 3)):
        probabilities = 1 / (1 + np.exp(-oracle.mask(detections[i], labels[i])))
        np.testing.assert_allclose(masks[0, i], probabilities, atol=1e-4)
    assert not boxes[0, found:].any() and not classes[0, found:].any() and not masks[0, found:].any()


def test_images_of_a_batch_do_not_mix():
    network = spread_network(3, 4)
    images = torch.randn(3, 3, 72, 100, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        together = network(images).detections(40, 10, 0.1)
        for i in range(3):
            alone = network(images[i : i + 1]).detections(40, 10, 0.1)
            for a, b in zip(together, alone, strict=True):
                assert (a[i] - b[0]).abs().max() < SAME_PIXELS


def test_eighty_classes_in_one_frame():
    """One proposal, in which no class is likelier than another."""
    network = spread_network(4, 80)
    with torch.no_grad():
        network.roi_head.bbox_head.fc_cls.weight.zero_()
        network.roi_head.bbox_head.fc_cls.bias.zero_()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        seen = network(images)
        boxes, scores, classes = seen.detections(1, 100, 0.01)
        masks = seen.masks(boxes, scores, classes)
    for sample in range(2):
        assert sorted(classes[sample, :80].tolist()) == list(range(80))
    torch.testing.assert_close(scores[:, :80], torch.full((2, 80), 1 / 81))
    assert all(bool(answer.isfinite().all()) for answer in (boxes, masks))
    for answer in (boxes, scores, classes, masks):
        assert not answer[:, 80:].any()


def test_nothing_above_the_threshold_is_no_detection():
    network = spread_network(4, 80)
    with torch.inference_mode():
        seen = network(torch.zeros(2, 3, 64, 64))
        boxes, scores, classes = seen.detections(50, 100, 0.999)
        masks = seen.masks(boxes, scores, classes)
    for answer, shape in ((boxes, (2, 100, 4)), (scores, (2, 100)), (classes, (2, 100)), (masks, (2, 100, 28, 28))):
        assert answer.shape == shape and not answer.any()


def test_three_stages_carry_no_mask_rcnn():
    with pytest.raises(ValueError, match="4 stages; the backbone has 3"):
        InstanceModel(SparseViT(8, (1, 1, 1), (1, 1, 1)), 3)


def test_swin_t_has_the_published_parameters():
    state = InstanceModel(SparseViT(), 80).state_dict()
    assert len(state) == 231
    assert sum(t.numel() for name, t in state.items() if not name.endswith("_index")) == 47_794_602
    counts = {part: sum(name.startswith(part) for name in state) for part in ("backbone.", "neck.", "rpn_head.")}
    assert counts == {"backbone.": 189, "neck.": 16, "rpn_head.": 6}
    assert state["roi_head.bbox_head.shared_fcs.0.weight"].shape == (1024, 12544)
    assert state["roi_head.mask_head.upsample.weight"].shape == (256, 256, 2, 2)


@pytest.fixture(scope="module")
def network():
    return golden.golden_network()


def check_golden(case: golden.Case, network: InstanceModel) -> None:
    """Levels, proposals, detections and masks of one image, through PyTorch."""
    with torch.inference_mode():
        seen = network(case.normalized(), ratios=golden.ratios())
        proposals, scores = seen.proposals(1000)
        boxes, box_scores, classes = seen.detections(1000, 100, 0.05)
        chosen = torch.from_numpy(case.boxes[case.sampled, :4] * case.scale)[None]
        labels = torch.from_numpy(case.labels[case.sampled])[None]
        logits = network.roi_head.mask_head(seen.levels, chosen, labels)[0].numpy()
    for level, (positions, values) in zip(seen.levels, case.maps, strict=True):
        assert np.abs(level.numpy().ravel()[positions] - values).max() < 1e-4
    golden.check_proposals(torch.cat([proposals[0], scores[0, :, None]], 1).numpy(), case)
    golden.check_detections(boxes[0].numpy(), box_scores[0].numpy(), classes[0].numpy(), case)
    assert np.abs(logits - case.mask_logits).max() < 1e-4 * np.abs(case.mask_logits).max()


@pytest.mark.parametrize("name", golden.CASES)
def test_the_published_network_computed_the_same(name, network):
    check_golden(golden.load_case(name), network)


@pytest.mark.slow
@pytest.mark.parametrize("name", golden.CASES)
@pytest.mark.skipif(golden.WHOLE not in os.environ, reason=f"{golden.WHOLE} does not name the whole recording (17 MB)")
def test_the_whole_recording_is_the_same(name, network):
    check_golden(golden.load_case(name, golden.whole_file()), network)
