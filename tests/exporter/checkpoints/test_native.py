import pytest
import torch

from exports import native_document
from sparsevit_exporter import SegmentationModel, SparseViT, load_checkpoint
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.errors import CheckpointError

CLASSES = [ClassCard(name=name) for name in ("road", "car")]


def document(network, **changes):
    return native_document(network, CLASSES, **changes)


def headed(net, kind):
    model = kind(net, num_classes=2, channels=8).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def test_backbone_of_a_model_read_as_reference(tmp_path, net, same_outputs):
    model = headed(net, SegmentationModel)
    torch.save(document(model), tmp_path / "w.pth")
    loaded = load_checkpoint(tmp_path / "w.pth", format="reference")
    assert (type(loaded.network), loaded.task) == (SparseViT, "backbone")
    assert set(loaded.ignored) == {f"head.{name}" for name in model.head.state_dict()}
    same_outputs(loaded.network, net)


def test_another_window_size(tmp_path, net):
    torch.save(document(headed(net, SegmentationModel)), tmp_path / "w.pth")
    assert load_checkpoint(tmp_path / "w.pth", config={"window_size": 7}).network.backbone.window_size == 7


def edited(**changes):
    return lambda d: {**d, **changes}


def without_weight(name):
    return lambda d: {**d, "state_dict": {k: v for k, v in d["state_dict"].items() if k != name}}


def with_weight(name, value):
    return lambda d: {**d, "state_dict": {**d["state_dict"], name: value}}


def with_backbone(**changes):
    return lambda d: {**d, "config": {**d["config"], "backbone": {**d["config"]["backbone"], **changes}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edited(version=2), "version 2 of our format, this version reads up to 1; upgrade"),
        (edited(version=None), "header is invalid: version"),
        (edited(task="pose"), "its task is 'pose', which this version does not know; it knows seg.*Upgrade"),
        (edited(task="backbone"), "its task is backbone, yet it has head"),
        (edited(input={"mean": [0, 0, 0], "std": [1, 1, 0]}), "header is invalid: input.std.2"),
        (edited(config={}), "header is invalid: config.backbone"),
        (edited(metrics=[{"name": "mIoU"}]), "header is invalid: metrics.0"),
        (edited(classes=[{"name": "road"}]), "names 1 classes, its head has 2"),
        (edited(classes=[]), "names 0 classes, its head has 2"),
        (edited(state_dict={}), "holds no tensors"),
        (edited(state_dict=None), "holds no tensors"),
        (lambda d: {**d, "config": {"backbone": d["config"]["backbone"]}}, "its config has no head"),
        (with_backbone(window_size=7), "weights are of .*'window_size': 4.*config says .*'window_size': 7"),
        (
            without_weight("head.classify.bias"),
            r"read as native: 1 of the network's names missing \(head.classify.bias",
        ),
        (without_weight("backbone.norm0.bias"), r"missing \(norm0.bias"),
        (with_weight("head.extra", torch.ones(1)), r"unknown keys \(head.extra"),
        (with_weight("other.weight", torch.ones(1)), r"unknown keys \(other.weight"),
        (
            with_weight(f"backbone.stages.0.blocks.{'9' * 5000}.norm1.weight", torch.ones(1)),
            r"unknown keys \(.{150,400}$",
        ),
        (with_weight("head.classify.bias", torch.ones(3)), r"head.classify.bias is \(3,\), the network's \(2,\)"),
        (with_weight("head.classify.bias", torch.full((2,), float("inf"))), "head.classify.bias hold NaN or infinity"),
    ],
)
def test_what_does_not_fit(tmp_path, net, change, message):
    torch.save(change(document(headed(net, SegmentationModel))), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=f"w.pth: .*{message}"):
        load_checkpoint(tmp_path / "w.pth")
