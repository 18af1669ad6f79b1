import numpy as np
import pytest
import torch

from golden import ARCHITECTURE, TOLERANCE, cases, load_seeded_weights, seeded_images
from sparsevit_exporter import SparseViT
from sparsevit_exporter.backbone import Block

CASES = cases()


@pytest.fixture
def recorded_kept(monkeypatch):
    """Collects the index list every block was given, in call order."""
    calls = []
    original = Block.forward

    def forward(self, x, index=None):
        calls.append(None if index is None else index.numpy())
        return original(self, x, index)

    monkeypatch.setattr(Block, "forward", forward)
    return calls


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_matches_reference(case, recorded_kept):
    net = SparseViT(**ARCHITECTURE).eval()
    load_seeded_weights(net, case.weight_seed)
    images = torch.from_numpy(seeded_images(case.height, case.width, case.batch, case.input_seed))
    with torch.inference_mode():
        outputs = net(images, ratios=case.ratios)
    for output, positions, values in zip(outputs, case.positions, case.values, strict=True):
        assert np.abs(output.flatten().numpy()[positions] - values).max() < TOLERANCE
    blocks = [(i, j) for i, depth in enumerate(ARCHITECTURE["depths"]) for j in range(depth)]
    kept = {b: np.sort(index, axis=1) for b, index in zip(blocks, recorded_kept, strict=True) if index is not None}
    assert kept.keys() == case.kept.keys()
    for block, expected in case.kept.items():
        np.testing.assert_array_equal(kept[block], expected, err_msg=f"stage {block[0]} block {block[1]}")
