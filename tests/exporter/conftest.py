import pytest

from golden import ARCHITECTURE, load_seeded_weights
from sparsevit_exporter import SparseViT


@pytest.fixture(scope="session")
def golden_network():
    net = SparseViT(**ARCHITECTURE).eval()
    load_seeded_weights(net, weight_seed=11)
    return net
