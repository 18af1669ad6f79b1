import pytest
import torch

from sparsevit_exporter import load_checkpoint
from sparsevit_exporter.checkpoints import FORMATS
from sparsevit_runtime.errors import CheckpointError


@pytest.fixture
def path(tmp_path, net):
    torch.save({"state_dict": net.state_dict()}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_defaults(path):
    loaded = load_checkpoint(path)
    assert (loaded.mean, loaded.std) == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    assert (loaded.ignored, loaded.training, loaded.metrics, loaded.input_hw) == ((), {}, (), None)


def test_explicit_format(path, net, same_outputs):
    same_outputs(load_checkpoint(str(path), format="reference").network, net)


@pytest.mark.parametrize(
    ("format", "message"),
    [
        (
            "microsoft",
            r"ends in patch_embed.proj.weight.*Closest format: reference \(\d+ of \d+ keys\); use format='ref",
        ),
        ("huggingface", "ends in embeddings.patch_embeddings.projection.weight.*use format='reference'"),
        ("native", "lacks the mark of our own format"),
        ("torchvision", f"no checkpoint format 'torchvision'; choose one of auto, {', '.join(FORMATS)}"),
    ],
)
def test_wrong_format(path, format, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, format=format)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no tensors, only an empty dictionary"),
        (
            {"optimizer": {"state": {0: {"a": torch.ones(1)}}}, "epoch": 3},
            "holds no tensors, only optimizer, epoch; save",
        ),
        ({"net": {"a": torch.ones(1)}, "ema": {"a": torch.ones(1)}}, "net, ema hold tensors each; save one of them"),
        ({"features.1.0.attn.qkv.weight": torch.ones(1)}, "it looks like torchvision's Swin"),
        ({"layer1.0.conv1.weight": torch.ones(1)}, "it looks like a ResNet; the first are"),
        (
            {f"{part}.weight": torch.ones(1) for part in ("backbone.layer1.0.conv1", "rpn_head.a", "roi_head.b")},
            "proposals whose backbone is no Swin Transformer; it looks like a ResNet",
        ),
        (
            {"patch_embed.proj.weight": torch.ones(1), "layers.0.blocks.0.attn.logit_scale": torch.ones(1)},
            "it looks like Swin Transformer V2",
        ),
        ({"state_dict": {}}, "holds no tensors"),
        (
            {"conv1.weight": torch.ones(1), "fc.bias": torch.ones(1)},
            "none of its 2 keys is a Swin.*conv1.weight, fc.bias",
        ),
    ],
)
def test_foreign_content(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=f"w.pth: .*{message}"):
        load_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("wrappers", [("net",), ("state_dict_ema",), ("checkpoint", "state_dict")])
def test_the_one_dictionary_of_tensors_is_found(tmp_path, net, same_outputs, wrappers):
    content = net.state_dict()
    for name in reversed(wrappers):
        content = {name: content}
    torch.save({**content, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}, tmp_path / "w.ckpt")
    same_outputs(load_checkpoint(tmp_path / "w.ckpt").network, net)


def test_two_backbones(tmp_path, net):
    state = {f"{who}.backbone.{name}": t for who in ("student", "teacher") for name, t in net.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match="holds 2 backbones, under student.backbone., teacher.backbone.; save one"
    ):
        load_checkpoint(tmp_path / "w.pth")


def test_first_few_of_many_keys_are_named(tmp_path, net):
    state = {k: v for k, v in net.state_dict().items() if ".norm2." not in k}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match=r"16 of the network's names missing \(stages.0.blocks.0.norm2.weight, .* and 13 more\)"
    ):
        load_checkpoint(tmp_path / "w.pth")
