"""Exported files read back: the same network as the one that was exported, whatever the export did to it."""

import onnx
import pytest
import torch
from onnx import helper

from networks import randomize
from sparsevit_exporter import DetectionModel, ExportOptions, SegmentationModel, SparseViT, export, load_checkpoint
from sparsevit_runtime.card import CARD_KEY, ClassCard, ModelCard
from sparsevit_runtime.errors import CheckpointError
from sparsevit_runtime.model import bundled_models

CLASSES = tuple(ClassCard(name=name, color=(9, 9, 9)) for name in ("road", "car", "tree"))
#: Largest accepted difference, over the tensor's scale, by how the weights are stored.
TOLERANCES = {"fp32": 1e-5, "half": 5e-3, "fp16": 5e-3}


def network(task: str, seed: int = 4):
    if task == "detection":  # at strides 8, 16, 32
        return randomize(DetectionModel(SparseViT(8, (1, 2, 1, 2), (1, 1, 2, 2), window_size=4), len(CLASSES), 8), seed)
    backbone = SparseViT(8, (2, 4), (1, 2), window_size=4)
    return randomize(backbone if task == "backbone" else SegmentationModel(backbone, len(CLASSES), 8), seed)


def write(path, task, stored="fp32", size=(100, 132), **options):
    net = network(task)
    precision = "fp16" if stored == "fp16" else "fp32"
    settings = ExportOptions(*size, precision=precision, half_weights=stored == "half", **options)
    assert export(net, path, settings, () if task == "backbone" else CLASSES).holds
    return net


def flat(answer) -> list[torch.Tensor]:
    return [answer] if isinstance(answer, torch.Tensor) else list(answer)


@pytest.mark.parametrize(
    ("task", "stored", "size", "options"),
    [
        ("segmentation", "half", (96, 128), {}),
        ("segmentation", "fp16", (101, 67), {"mean": (10.0, 20.0, 30.0), "std": (40.0, 50.0, 60.0)}),
        ("detection", "fp32", (96, 128), {"mean": (10.0, 20.0, 30.0), "std": (40.0, 50.0, 60.0)}),
        ("backbone", "fp32", (97, 131), {"layout": "normalized"}),
    ],
    ids=str,
)
def test_the_network_comes_back(tmp_path, task, stored, size, options):
    net = write(tmp_path / "m.onnx", task, stored, size, **options)
    loaded = load_checkpoint(tmp_path / "m.onnx")
    assert (loaded.task, loaded.format, loaded.input_hw) == (task, "exported", size)
    assert loaded.classes == (() if task == "backbone" else CLASSES)
    assert loaded.mean == options.get("mean", loaded.mean)
    images = torch.randn(2, 3, 120, 76, generator=torch.Generator().manual_seed(1))  # another size than the file's
    with torch.inference_mode():
        for ratios in (None, [[0.5] * depth for depth in getattr(net, "backbone", net).depths]):
            for ours, theirs in zip(flat(loaded.network(images, ratios)), flat(net(images, ratios)), strict=True):
                assert (ours - theirs).abs().max() <= TOLERANCES[stored] * theirs.abs().max()


def test_a_bundled_model_by_its_name():
    loaded = load_checkpoint("street-scenes")
    assert loaded.task == "segmentation" and len(loaded.classes) == 11
    assert loaded.training["licence"] and not loaded.metrics  # those are the file's, not those of what it becomes


@pytest.fixture(scope="module")
def bundled():
    return onnx.load(bundled_models()["street-scenes"])


def without_card(proto):
    del proto.metadata_props[:]


def with_card(**changes):
    def change(proto):
        entry = next(p for p in proto.metadata_props if p.key == CARD_KEY)
        card = ModelCard.from_json(entry.value)
        entry.value = card.model_copy(
            update={k: getattr(card, k).model_copy(update=v) for k, v in changes.items()}
        ).to_json()

    return change


def without_weight(proto):
    """As another version's exporter may name it."""
    for node in proto.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = name.replace("q_bias", "query_bias")
        for i, name in enumerate(node.output):
            node.output[i] = name.replace("q_bias", "query_bias")
    for weight in proto.graph.initializer:
        weight.name = weight.name.replace("q_bias", "query_bias")


def with_other_answers(proto):
    """All weights are in their places, and the graph does something else with them."""
    last = next(node for node in proto.graph.node if "head.classify.weight" in node.input)
    logits, last.output[0] = last.output[0], "negated"
    proto.graph.node.insert(list(proto.graph.node).index(last) + 1, helper.make_node("Neg", ["negated"], [logits]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_card, "no model card"),
        (with_card(windows={"fixed": ((0.5, 0.5),) * 4}), "fixed plan"),
        (with_card(windows={"depths": (2, 2, 4, 2)}), "weights are not where"),
        (without_weight, "weights are not where"),
        (with_other_answers, "agrees with it in"),
    ],
    ids=["no card", "fixed", "other depths", "other names", "other answers"],
)
def test_what_cannot_be_read_back(tmp_path, bundled, change, message):
    proto = onnx.ModelProto()
    proto.CopyFrom(bundled)
    change(proto)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


def test_damaged_files(tmp_path):
    whole = bundled_models()["street-scenes"].read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole[: len(whole) // 2])
    for path, options in ((tmp_path / "m.onnx", {}), (tmp_path / "absent.onnx", {})):
        with pytest.raises(CheckpointError, match=path.name):
            load_checkpoint(path, **options)
    with pytest.raises(CheckpointError, match="config cannot change it"):
        load_checkpoint("street-scenes", config={"window_size": 5})
