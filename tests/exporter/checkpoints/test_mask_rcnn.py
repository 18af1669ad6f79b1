"""Mask R-CNN checkpoints of mmdetection."""

import logging

import pytest
import torch

from exports import tiny_backbone
from networks import randomize
from sparsevit_exporter import InstanceModel, load_checkpoint
from sparsevit_exporter.checkpoints.differences import differences
from sparsevit_runtime.errors import CheckpointError
from sparsevit_runtime.tasks.coco_classes import COCO_CLASSES
from sparsevit_runtime.windows.geometry import stage_geometries

BOX, MASK = "roi_head.bbox_head.", "roi_head.mask_head."
PRUNED = "model = dict(backbone=dict(type='SparseViT'))\npruning_ratios = [[0.6, 0.6]]"
DENSE = "model = dict(backbone=dict(type='SwinTransformer'))"


@pytest.fixture(scope="module")
def network() -> InstanceModel:
    return make_network(3)


def make_network(num_classes: int) -> InstanceModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return randomize(InstanceModel(tiny_backbone((1, 2, 1, 1)), num_classes, 8, 16), 1)


def save(path, state, **around):
    torch.save({"state_dict": state, **around}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_all_of_it_comes_back(tmp_path, network, prefix):
    state = network.state_dict()
    meta = {"CLASSES": ("cat", "dog", "cow"), "config": PRUNED, "epoch": 12}
    path = save(
        tmp_path / "w.pth",
        {prefix + k: v for k, v in state.items()},
        meta=meta,
        optimizer={"state": {0: torch.ones(9)}},
    )
    loaded = load_checkpoint(path)
    assert (loaded.format, loaded.task, loaded.adapted, loaded.ignored) == ("mmdet", "instances", True, ())
    assert [c.name for c in loaded.classes] == ["cat", "dog", "cow"]
    assert not loaded.network.training and loaded.network.head_config == network.head_config
    ours = loaded.network.state_dict()
    assert ours.keys() == state.keys() and all(torch.equal(ours[name], state[name]) for name in state)


def test_microsofts_layout_of_the_backbone_under_the_same_heads(tmp_path, network):
    names = {"patch_embed.projection": "patch_embed.proj", "stages.": "layers.", "attn.w_msa": "attn"}
    names |= {"ffn.layers.0.0": "mlp.fc1", "ffn.layers.1": "mlp.fc2"}
    state = {}
    for name, tensor in network.state_dict().items():
        if ".downsample." in name:  # c*4 + 2*row + column -> (row + 2*column)*C + c
            tensor = tensor.unflatten(-1, (-1, 4)).transpose(-1, -2)[..., [0, 2, 1, 3], :].flatten(-2)
        for old, new in names.items() if name.startswith("backbone.") else ():
            name = name.replace(old, new)
        state[name] = tensor
    loaded = load_checkpoint(save(tmp_path / "w.pth", state, meta={"CLASSES": ("cat", "dog", "cow")}))
    assert (loaded.format, loaded.task, loaded.ignored) == ("microsoft", "instances", ())
    expected = network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.network.state_dict().items())
    cascade = {name.replace(BOX, f"{BOX}0."): tensor for name, tensor in state.items()}
    path = save(tmp_path / "c.pth", cascade)
    with pytest.raises(CheckpointError, match="a cascade of 1 box heads.*--format microsoft --task backbone"):
        load_checkpoint(path)
    assert load_checkpoint(path, format="microsoft").task == "backbone"


def test_its_backbone_alone_is_read_on_request(tmp_path, network):
    loaded = load_checkpoint(save(tmp_path / "w.pth", network.state_dict()), format="reference")
    assert (loaded.task, loaded.format) == ("backbone", "reference") and "neck.fpn_convs.0.conv.bias" in loaded.ignored


@pytest.mark.parametrize(
    ("meta", "count", "names"),
    [
        ({"CLASSES": ["a", "b", "c"]}, 3, ["a", "b", "c"]),
        ({"dataset_meta": {"classes": ("a", "b", "c")}}, 3, ["a", "b", "c"]),
        ({"CLASSES": "boat"}, 1, ["boat"]),
        ({"epoch": 1}, 80, list(COCO_CLASSES)),
        (None, 2, ["class 0", "class 1"]),
    ],
)
def test_names_of_classes(tmp_path, meta, count, names):
    around = {} if meta is None else {"meta": meta}
    loaded = load_checkpoint(save(tmp_path / "w.pth", make_network(count).state_dict(), **around))
    assert [c.name for c in loaded.classes] == names


def without(part):
    return lambda state: {name: t for name, t in state.items() if part not in name}


def changed(**tensors):
    return lambda state: {**state, **{name.replace("__", "."): t for name, t in tensors.items()}}


def renamed(old, new):
    return lambda state: {name.replace(old, new): t for name, t in state.items()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without(MASK), "no mask head"),
        (renamed(BOX, f"{BOX}0."), "a cascade of 1 box heads"),
        (without("neck.lateral_convs.3"), "3 lateral and 4 further convolutions"),
        (without("neck.lateral_convs.0.conv.weight"), "its pyramid lacks neck.lateral_convs.0.conv.weight"),
        (changed(neck__lateral_convs__0__conv__weight=torch.tensor(1.0)), "its pyramid lacks neck.lateral_convs.0"),
        (changed(neck__fpn_convs__4__conv__weight=torch.ones(8, 8, 3, 3)), "4 lateral and 5 further"),
        (
            changed(
                rpn_head__rpn_cls__weight=torch.ones(9, 8, 1, 1), rpn_head__rpn_reg__weight=torch.ones(36, 8, 1, 1)
            ),
            "9 scores and 9 boxes per place, 3 of each belong",
        ),
        (changed(rpn_head__rpn_cls__weight=torch.ones(6, 8, 1, 1)), "6 scores and 3 boxes per place"),
        (changed(roi_head__bbox_head__fc_reg__weight=torch.ones(4, 16)), "fc_reg has 4 rows, 12 belong to 3 classes"),
        (changed(roi_head__mask_head__conv_logits__weight=torch.ones(1, 8, 1, 1)), "conv_logits has 1 row, 3 belong"),
        (without("shared_fcs"), "it lacks shared_fcs.0, shared_fcs.1"),
        (changed(roi_head__semantic_head__conv__weight=torch.ones(1)), "1 unknown keys (roi_head.semantic_head"),
        (
            changed(neck__fpn_convs__1__conv__weight=torch.ones(16, 8, 3, 3)),
            r"is (16, 8, 3, 3), the network's (8, 8, 3, 3)",
        ),
        (without("rpn_conv.bias"), "1 of the network's names missing (rpn_head.rpn_conv.bias)"),
    ],
)
def test_other_heads_say_what_differs(tmp_path, network, change, told):
    path = save(tmp_path / "w.pth", change(network.state_dict()))
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert told in str(error.value) and "format='reference'" in str(error.value) and str(path) in str(error.value)


def test_names_of_another_number_of_classes_are_refused(tmp_path, network):
    path = save(tmp_path / "w.pth", network.state_dict(), meta={"CLASSES": ["a", "b"]})
    with pytest.raises(CheckpointError, match=r"names 2 classes \(a, b\), fc_cls has 3"):
        load_checkpoint(path)


def test_a_class_without_a_proper_name_is_refused(tmp_path, network):
    path = save(tmp_path / "w.pth", network.state_dict(), meta={"CLASSES": ["a", "b", "c" * 400]})
    with pytest.raises(CheckpointError, match="its meta has a class without a proper name"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("bias", "told"),
    [(torch.full((4,), float("nan")), "hold NaN"), (torch.ones(4, dtype=torch.int8), "hold whole numbers, as a quant")],
)
def test_broken_weights_are_refused(tmp_path, network, bias, told):
    state = {**network.state_dict(), f"{BOX}fc_cls.bias": bias}
    with pytest.raises(CheckpointError, match=f"roi_head.bbox_head.fc_cls.bias {told}"):
        load_checkpoint(save(tmp_path / "w.pth", state))


@pytest.mark.parametrize(("config", "says"), [(None, "does not say that"), (DENSE, "says that no"), (PRUNED, None)])
def test_dense_training_is_told_in_one_line(tmp_path, network, caplog, config, says):
    meta = {} if config is None else {"config": config}
    with caplog.at_level(logging.WARNING):
        loaded = load_checkpoint(save(tmp_path / "w.pth", network.state_dict(), meta=meta))
    lines = [record.getMessage() for record in caplog.records if "adapted to sparsity" in record.getMessage()]
    assert len(lines) == (says is not None) and all(f" {says} windows were left out" in line for line in lines)
    stages = stage_geometries(96, 96, (2, 2, 6, 2), 7)
    told = differences(loaded.format, stages, loaded.adapted)
    assert (told is None) == (says is None)
    if told is not None:  # mmdetection pads behind the norm as Swin does, and keeps the shift as SparseViT does
        assert "this mmdet Swin" in told and "pads before the norm" in told and "shift" not in told
        assert ("unless it is of SparseViT's own" in told) == (config is None)
    assert differences(loaded.format, stage_geometries(224, 224, (2, 2, 6, 2), 7), loaded.adapted) is None


def test_a_dense_backbone_of_mmdetection_is_told_as_well(tmp_path, network):
    state = without("neck.")(without("_head.")(network.state_dict()))
    loaded = load_checkpoint(save(tmp_path / "w.pth", state, meta={"config": DENSE}))
    assert (loaded.task, loaded.format, loaded.adapted) == ("backbone", "reference", False)
    told = differences(loaded.format, stage_geometries(96, 96, (2, 2, 6, 2), 7), loaded.adapted)
    assert "pads before the norm" in told and "this mmdet Swin" in told
