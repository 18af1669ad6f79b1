import pytest
import torch

from sparsevit_exporter import windows
from sparsevit_exporter.backbone import SparseViT
from sparsevit_training.importance import importance_loss, stage_inputs

WINDOW = 4
SHIFTS = (0, 2)  # of a stage of two blocks


def pixels_of(token_map: torch.Tensor) -> torch.Tensor:
    """(B, H, W) per token of the first stage -> (B, 4H, 4W) per pixel."""
    return token_map.repeat_interleave(4, 1).repeat_interleave(4, 2)


@pytest.fixture
def weights():
    """(2, 14, 19): not whole windows."""
    return torch.rand(2, 14, 19, generator=torch.Generator().manual_seed(1)) ** 3


def test_zero_where_scores_follow_the_weights_at_any_scale(weights):
    signs = torch.where(torch.rand(2, 14, 19, 1) < 0.5, -1.0, 1.0)
    x = 7.0 * weights.unsqueeze(-1) * signs.expand(-1, -1, -1, 3)
    assert importance_loss([x], pixels_of(weights), WINDOW, (2,)).item() == pytest.approx(0, abs=1e-5)


def test_is_one_less_the_correlation_of_window_scores():
    torch.manual_seed(0)
    x, tokens = torch.randn(2, 8, 12, 5), torch.rand(2, 8, 12)
    expected = []
    for shift in SHIFTS:
        scores = windows.window_score(x, WINDOW, shift)
        wanted = windows.window_score(tokens.unsqueeze(-1), WINDOW, shift)
        expected += [1 - torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(scores, wanted, strict=True)]
    found = importance_loss([x], pixels_of(tokens), WINDOW, (2,))
    assert found.item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)


def test_images_without_a_difference_do_not_count(weights):
    torch.manual_seed(0)
    x = torch.randn(2, 16, 20, 3)
    pixels = pixels_of(torch.rand(2, 16, 20))
    alone = importance_loss([x[:1]], pixels[:1], WINDOW, (1,))
    pixels[1] = 0.0
    assert importance_loss([x], pixels, WINDOW, (1,)).item() == pytest.approx(alone.item(), abs=1e-6)


def test_nothing_to_learn_gives_zero_with_a_gradient():
    x = torch.randn(1, 8, 8, 3, requires_grad=True)
    value = importance_loss([x], torch.ones(1, 32, 32), WINDOW, (1,))
    value.backward()
    assert value.item() == 0 and x.grad.abs().sum() == 0


def test_later_stages_see_pixels_at_their_stride():
    """One heavy corner; the second stage has a token per 8 pixels, its last row reaching past the image."""
    pixels = torch.full((1, 60, 96), 0.1)
    pixels[:, 32:, 64:] = 5.0
    first, second = torch.zeros(1, 15, 24, 2), torch.zeros(1, 8, 12, 2)
    first[:, 8:, 16:] = second[:, 4:, 8:] = 1.0
    assert importance_loss([first, second], pixels, WINDOW, (1, 1)).item() < 0.05
    elsewhere = second.flip(1, 2)
    assert importance_loss([first, elsewhere], pixels, WINDOW, (1, 1)).item() > 0.4


def test_later_stages_make_up_for_what_earlier_ones_passed_over():
    """Two stages of one block on 2x4 and 1x2 windows. The left half weighs more, and the first stage computes it: the
    second is right to compute the other, once what was passed over weighs three times as much."""
    pixels = torch.full((1, 32, 64), 1.0)
    pixels[:, :, :32] = 2.0
    first = torch.zeros(1, 8, 16, 2)
    first[:, :, :8] = 1.0
    left, right = torch.zeros(1, 4, 8, 2), torch.zeros(1, 4, 8, 2)
    left[:, :, :4] = right[:, :, 4:] = 1.0

    def loss(second: torch.Tensor, **changes) -> float:
        return importance_loss([first, second], pixels, WINDOW, (1, 1), **changes).item()

    half = {"keep": (4, 1), "passed_over": 2.0}
    assert loss(left) == pytest.approx(0, abs=1e-5) == loss(left, keep=(4, 1)) == loss(left, passed_over=2.0)
    assert loss(right) == pytest.approx(1, abs=1e-5)  # mean of 0 and 2
    assert loss(right, **half) == pytest.approx(0, abs=1e-5)
    assert loss(left, **half) == pytest.approx(1, abs=1e-5)
    assert loss(left, keep=(8, 1), passed_over=2.0) == pytest.approx(0, abs=1e-5)  # the first stage computes all
    assert loss(left, keep=(0, 1), passed_over=2.0) == pytest.approx(0, abs=1e-5)  # it computes nothing


@pytest.mark.parametrize("depth", [1, 2, 5, 6])
def test_what_a_stage_passes_over_is_the_share_of_its_blocks(depth):
    torch.manual_seed(0)
    x, second = torch.randn(2, 14, 18, 3), torch.randn(2, 7, 9, 3)
    tokens = torch.rand(2, 14, 18)
    keep = (13, 6, 1)[: -(-depth // 2)]
    skipped = []
    for block in range(depth):
        shift = 2 * (block % 2)
        scores = windows.window_score(x, WINDOW, shift)
        chosen = scores.topk(keep[block // 2], 1).indices  # (2, k)
        computed = windows.window_scatter(
            torch.zeros(2, 14, 18, 1), torch.ones(2, keep[block // 2], WINDOW**2, 1), chosen, WINDOW, shift
        )
        skipped.append(1 - computed.squeeze(-1))
    raised = tokens * (1 + 1.5 * torch.stack(skipped).mean(0))
    found = importance_loss([x, second], pixels_of(tokens), WINDOW, (depth, 1), (*keep, 1), 1.5)
    # Of the mean over the terms, those of the first stage do not depend on what is passed over.
    first = importance_loss([x], pixels_of(tokens), WINDOW, (depth,))
    goal = windows.window_score(torch.nn.functional.avg_pool2d(raised, 2).unsqueeze(-1), WINDOW, 0)
    pairs = zip(windows.window_score(second, WINDOW, 0), goal, strict=True)
    later = torch.stack([1 - torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]).mean()
    terms = min(depth, 2)
    assert found.item() == pytest.approx(((terms * first + later) / (terms + 1)).item(), abs=1e-5)


@pytest.mark.parametrize("keep", [None, (3, 1)])
def test_inputs_of_a_network_and_its_learning(keep):
    torch.manual_seed(0)
    backbone = SparseViT(8, (2, 2), (1, 2), WINDOW)
    images = torch.randn(2, 3, 56, 72)
    pixels = torch.full((2, 56, 72), 0.2)
    pixels[0, :28, :36] = pixels[1, 28:, 36:] = 3.0
    images[0, :, :28, :36] -= 2.0  # what is heavy can be told
    images[1, :, 28:, 36:] -= 2.0

    def loss() -> torch.Tensor:
        with stage_inputs(backbone) as inputs:
            backbone(images, keep=keep)
        assert [tuple(x.shape) for x in inputs] == [(2, 14, 18, 8), (2, 7, 9, 16)]
        return importance_loss(inputs, pixels, WINDOW, backbone.depths)

    optimizer = torch.optim.AdamW(backbone.parameters(), 3e-3)
    before = loss().item()
    for _ in range(40):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.5 * before
    assert not any(module._forward_pre_hooks for module in backbone.modules())
