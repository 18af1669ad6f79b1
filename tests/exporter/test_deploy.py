import pytest
import torch

from networks import randomize
from sparsevit_exporter import SparseViT
from sparsevit_exporter.deploy import DeployedBackbone
from sparsevit_runtime.windows.plan import Plan

MEAN, STD = (10.0, 20.0, 30.0), (40.0, 50.0, 60.0)


@pytest.mark.parametrize("size", [(64, 96), (61, 90)], ids=["whole patches", "padded"])
@pytest.mark.parametrize("camera", [True, False])
def test_the_deployed_backbone_computes_the_same_and_leaves_the_network_as_it_is(size, camera):
    net = randomize(SparseViT(8, (2, 1), (1, 2), window_size=4), seed=2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    frames = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)  # BGR
    rgb = frames.flip(-1).permute(0, 3, 1, 2).float()
    images = (rgb - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    half = DeployedBackbone(net, *size, 1, MEAN, STD, camera, Plan.dense(net.depths), torch.float16)
    assert {p.dtype for p in half.stages.parameters()} == {torch.float16}
    full = DeployedBackbone(net, *size, 1, MEAN, STD, camera, None, torch.float32)
    keep = torch.tensor([24, 6])  # all windows of both stages
    with torch.inference_mode():
        maps, orders = full(frames if camera else images, keep)
        expected = net(images)
    assert set(orders) == {"windows0", "shifted_windows0", "windows1"}
    for ours, theirs in zip(maps, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    after = net.state_dict()
    assert all(
        torch.equal(after[name], tensor) and after[name].dtype == tensor.dtype for name, tensor in before.items()
    )
