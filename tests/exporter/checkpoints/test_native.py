import pytest
import torch

from sparsevit_exporter import DetectionModel, SegmentationModel, SparseViT, load_checkpoint
from sparsevit_runtime.errors import CheckpointError

CLASSES = [{"name": "road", "color": [128, 64, 128]}, {"name": "car", "color": [0, 0, 142]}]
METRIC = {"name": "mIoU", "dataset": "street", "ratio": 0.5, "value": 61.5, "unit": "%"}


def document(network, **changes):
    backbone = getattr(network, "backbone", network)
    return {
        "format": "sparsevit-edge",
        "version": 1,
        "task": getattr(network, "task", "backbone"),
        "config": {"backbone": backbone.config, "head": getattr(network, "head_config", None)},
        "classes": CLASSES if backbone is not network else [],
        "state_dict": network.state_dict(),
        "input": {"height": 96, "width": 64, "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]},
        "training": {"data": "street", "licence": "CC0", "steps": 10},
        "metrics": [METRIC],
        **changes,
    }


def headed(net, kind):
    model = kind(net, num_classes=2, channels=8).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.mark.parametrize("kind", [SegmentationModel, DetectionModel])
def test_model_with_head(tmp_path, net, images, kind):
    model = headed(net, kind)
    torch.save(document(model, resume={"step": 3, "optimizer": {}}), tmp_path / "best.pth")
    loaded = load_checkpoint(tmp_path / "best.pth")
    assert type(loaded.network) is kind and not loaded.network.training
    assert (loaded.format, loaded.task, loaded.input_hw) == ("native", kind.task, (96, 64))
    assert [(c.name, c.color) for c in loaded.classes] == [("road", (128, 64, 128)), ("car", (0, 0, 142))]
    assert (loaded.mean, loaded.std) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert loaded.training == {"data": "street", "licence": "CC0", "steps": 10}
    assert [m.model_dump() for m in loaded.metrics] == [METRIC]
    with torch.inference_mode():
        for actual, expected in zip(loaded.network(images), model(images), strict=True):
            assert torch.equal(actual, expected)


def test_backbone_alone(tmp_path, net, same_outputs):
    torch.save(document(net), tmp_path / "w.pth")
    loaded = load_checkpoint(tmp_path / "w.pth", format="native")
    assert (type(loaded.network), loaded.task, loaded.classes) == (SparseViT, "backbone", ())
    same_outputs(loaded.network, net)


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
        (edited(task="pose"), "header is invalid: task"),
        (edited(task="backbone"), "its task is backbone, yet it has head"),
        (edited(input={"mean": [0, 0, 0], "std": [1, 1, 0]}), "header is invalid: input.std.2"),
        (edited(config={}), "header is invalid: config.backbone"),
        (edited(metrics=[{"name": "mIoU"}]), "header is invalid: metrics.0"),
        (edited(classes=CLASSES[:1]), "names 1 classes, its head has 2"),
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
        (with_weight("head.classify.bias", torch.ones(3)), r"head.classify.bias is \(3,\), the network's \(2,\)"),
        (with_weight("head.classify.bias", torch.full((2,), float("inf"))), "head.classify.bias hold NaN or infinity"),
    ],
)
def test_what_does_not_fit(tmp_path, net, change, message):
    torch.save(change(document(headed(net, SegmentationModel))), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=f"w.pth: .*{message}"):
        load_checkpoint(tmp_path / "w.pth")
