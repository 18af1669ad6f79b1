import pytest
import torch

from golden import load_seeded_weights
from sparsevit_exporter import SparseViT


@pytest.fixture
def net():
    """A tiny backbone in which no parameter has its initial value."""
    net = SparseViT(embed_dim=8, depths=(2, 1, 3, 2), num_heads=(1, 2, 2, 4), window_size=4).eval()
    load_seeded_weights(net, weight_seed=5)
    return net


@pytest.fixture(scope="session")
def images():
    return torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def same_outputs(images):
    """Asserts that two backbones compute the same maps, whatever their plan."""

    def check(actual, expected, tolerance=0.0):
        plan = [[0.5] * depth for depth in expected.depths]
        with torch.inference_mode():
            for ratios in (None, plan):
                for a, b in zip(actual(images, ratios), expected(images, ratios), strict=True):
                    assert (a - b).abs().max() <= tolerance

    return check
