"""timm's layout, as `timm.models.swin_transformer` saves it: Microsoft's names, each merge in the stage behind it."""

import re

import pytest
import torch
from torch import nn

from golden import load_seeded_weights
from sparsevit_exporter import SparseViT, load_checkpoint
from sparsevit_runtime.errors import CheckpointError


class TimmMerging(nn.Module):
    """As timm computes it: the 2x2 tokens side by side, column by column."""

    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):
        x = nn.functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.reduction(self.norm(x))


@pytest.fixture
def original(net):
    """The backbone with timm's merging and without output norms, which timm does not have."""
    backbone = SparseViT(**net.config).eval()
    for stage, channels in zip(backbone.stages, backbone.channels, strict=True):
        if stage.downsample is not None:
            stage.downsample = TimmMerging(channels)
    load_seeded_weights(backbone, weight_seed=11)
    for i in range(len(backbone.depths)):
        nn.init.ones_(getattr(backbone, f"norm{i}").weight)
        nn.init.zeros_(getattr(backbone, f"norm{i}").bias)
    return backbone


def timm_state(net):
    state = {}
    for name, tensor in net.state_dict().items():
        for ours, theirs in (
            ("patch_embed.projection", "patch_embed.proj"),
            ("stages.", "layers."),
            (".attn.w_msa.", ".attn."),
            (".ffn.layers.0.0.", ".mlp.fc1."),
            (".ffn.layers.1.", ".mlp.fc2."),
        ):
            name = name.replace(ours, theirs)
        if re.match(r"norm\d", name) or name.endswith("relative_position_index"):
            continue  # timm keeps no such buffers
        name = re.sub(r"layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
        state[name] = tensor
    assert "layers.0.downsample.norm.weight" not in state and "layers.3.downsample.norm.weight" in state
    last = net.channels[-1]
    classifier = {"norm.weight": torch.ones(last), "norm.bias": torch.ones(last)}
    return {**state, **classifier, "head.fc.weight": torch.ones(10, last), "head.fc.bias": torch.ones(10)}


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
@pytest.mark.parametrize("format", ["auto", "timm"])
def test_the_layout_is_told_and_read(tmp_path, original, same_outputs, prefix, format):
    state = {prefix + name: tensor for name, tensor in timm_state(original).items()}
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    loaded = load_checkpoint(tmp_path / "w.pth", format=format)
    assert loaded.format == "timm"
    assert {k.removeprefix(prefix) for k in loaded.ignored} == {
        "norm.weight",
        "norm.bias",
        "head.fc.weight",
        "head.fc.bias",
    }
    same_outputs(loaded.network, original, tolerance=1e-5)


def test_read_as_microsofts_it_says_which(tmp_path, original):
    torch.save(timm_state(original), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"read as microsoft: .*Closest format: timm .*use format='timm'"):
        load_checkpoint(tmp_path / "w.pth", format="microsoft")


def test_messages_name_the_files_own_keys(tmp_path, original):
    state = timm_state(original)
    state["layers.3.downsample.norm.weight"] = torch.ones(9)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"layers.3.downsample.norm.weight is \(9,\)|merged channels"):
        load_checkpoint(tmp_path / "w.pth")
