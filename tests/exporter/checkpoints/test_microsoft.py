import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from golden import load_seeded_weights
from sparsevit_exporter import SparseViT, load_checkpoint
from sparsevit_runtime.errors import CheckpointError


class MicrosoftMerging(nn.Module):
    """Patch merging of the original Swin Transformer: four strided maps side by side."""

    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):
        x = nn.functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x0, x1, x2, x3 = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
        return self.reduction(self.norm(torch.cat([x0, x1, x2, x3], -1)))


@pytest.fixture
def original(net):
    """The backbone with Microsoft's merging, so that its merge weights are in Microsoft's order by construction."""
    backbone = SparseViT(**net.config).eval()
    for stage, channels in zip(backbone.stages, backbone.channels, strict=True):
        if stage.downsample is not None:
            stage.downsample = MicrosoftMerging(channels)
    load_seeded_weights(backbone, weight_seed=11)
    return backbone


def microsoft_name(name):
    for ours, theirs in (
        ("patch_embed.projection", "patch_embed.proj"),
        ("stages.", "layers."),
        (".attn.w_msa.", ".attn."),
        (".ffn.layers.0.0.", ".mlp.fc1."),
        (".ffn.layers.1.", ".mlp.fc2."),
    ):
        name = name.replace(ours, theirs)
    return name


def microsoft_state(net, norms):
    state = {microsoft_name(k): v for k, v in net.state_dict().items()}
    return state if norms else {k: v for k, v in state.items() if not k.startswith("norm")}


CLASSIFIER = {
    "norm.weight": torch.ones(64),
    "norm.bias": torch.ones(64),
    "head.weight": torch.ones(10, 64),
    "head.bias": torch.ones(10),
    "layers.0.blocks.1.attn_mask": torch.ones(4, 16, 16),
}


def test_classification_file(tmp_path, original, same_outputs):
    torch.save({"model": {**microsoft_state(original, norms=False), **CLASSIFIER}}, tmp_path / "swin_tiny.pth")
    loaded = load_checkpoint(tmp_path / "swin_tiny.pth")
    assert loaded.format == "microsoft"
    assert set(loaded.ignored) == set(CLASSIFIER)
    for i in range(4):
        norm = getattr(original, f"norm{i}")
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)
    same_outputs(loaded.network, original, tolerance=1e-5)


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_detection_file_keeps_its_norms(tmp_path, original, same_outputs, prefix):
    state = {prefix + name: tensor for name, tensor in microsoft_state(original, norms=True).items()}
    save_file(state, tmp_path / "w.safetensors")
    same_outputs(load_checkpoint(tmp_path / "w.safetensors").network, original, tolerance=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layers.1.blocks.0.mlp.fc1.weight"), r"missing \(stages.1.blocks.0.ffn.layers.0.0.weight"),
        (lambda s: s.update({"absolute_pos_embed": torch.ones(1)}), "1 unknown keys .absolute_pos_embed"),
        (
            lambda s: s.update({"layers.0.blocks.0.attn.logit_scale": torch.ones(1)}),
            "layers.0.blocks.0.attn.logit_scale",
        ),
        (
            lambda s: s.update({"stages.0.blocks.0.norm1.weight": torch.ones(8)}),
            "unknown keys .stages.0.blocks.0.norm1",
        ),
        (lambda s: s.update({"layers.0.downsample.norm.weight": torch.ones(9)}), "merged channels come in fours"),
    ],
)
def test_what_does_not_fit(tmp_path, original, change, message):
    state = microsoft_state(original, norms=True)
    change(state)
    torch.save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=rf"w.pth: read as microsoft: .*{message}.*Closest format: microsoft"):
        load_checkpoint(tmp_path / "w.pth")
