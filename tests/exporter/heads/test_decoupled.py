import pytest
import torch

from sparsevit_exporter.heads.decoupled import DecoupledHead, joint_logit


def test_the_joint_logit_is_that_of_the_product():
    torch.manual_seed(0)
    classes, objects = 5 * torch.randn(2, 3, 4), 5 * torch.randn(2, 1, 4)
    product = (classes.double().sigmoid() * objects.double().sigmoid()).float()
    torch.testing.assert_close(joint_logit(classes, objects).sigmoid(), product, atol=1e-5, rtol=1e-3)
    assert joint_logit(torch.tensor(300.0), torch.tensor(300.0)).isfinite()


def test_boxes_are_those_of_yolox():
    """Offsets in cells from a cell's upper left corner, sides as logarithms of cells."""
    head = DecoupledHead((4, 8, 8, 8), 2, channels=8).eval()
    with torch.no_grad():
        for level in head.levels:
            level.regress.weight.zero_()
            level.regress.bias.copy_(torch.tensor([0.25, 0.5, 0.0, 0.6931472]))
    maps = [torch.randn(1, c, 32 >> i, 32 >> i) for i, c in enumerate((4, 8, 8, 8))]
    boxes = head(maps).boxes[0]
    assert boxes.shape == (16 * 16 + 8 * 8 + 4 * 4, 4)
    assert boxes[17].tolist() == pytest.approx([8 + 2 - 4, 8 + 4 - 8, 8 + 2 + 4, 8 + 4 + 8])  # second of the second row
    assert boxes[-1].tolist() == pytest.approx([96 + 8 - 16, 96 + 16 - 32, 96 + 8 + 16, 96 + 16 + 32])


def test_every_location_starts_as_background():
    torch.manual_seed(0)
    raw = DecoupledHead((4, 8, 8, 8), 3)([torch.randn(1, c, 16 >> i, 16 >> i) for i, c in enumerate((4, 8, 8, 8))])
    assert raw.logits.sigmoid().max() < 0.01
