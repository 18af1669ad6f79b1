import logging

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from golden import ARCHITECTURE, TOLERANCE, cases, seeded_array, seeded_images
from sparsevit_exporter import SparseViT, load_checkpoint


def relative_position_index(side: int) -> torch.Tensor:
    """As Swin's paper counts it, token pair by token pair."""
    index = torch.empty(side * side, side * side, dtype=torch.long)
    for query in range(side * side):
        for key in range(side * side):
            dy, dx = query // side - key // side, query % side - key % side
            index[query, key] = (dy + side - 1) * (2 * side - 1) + dx + side - 1
    return index


def reference_state(embed_dim, depths, num_heads, window_size, weight_seed) -> dict[str, torch.Tensor]:
    """A state dict under the published names, spelt out rather than taken from SparseViT."""
    shapes = {
        "patch_embed.projection.weight": (embed_dim, 3, 4, 4),
        "patch_embed.projection.bias": (embed_dim,),
        "patch_embed.norm.weight": (embed_dim,),
        "patch_embed.norm.bias": (embed_dim,),
    }
    for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
        c = embed_dim * 2**i
        for j in range(depth):
            for name, shape in {
                "norm1": (c,),
                "attn.w_msa.qkv": (3 * c, c),
                "attn.w_msa.proj": (c, c),
                "norm2": (c,),
                "ffn.layers.0.0": (4 * c, c),
                "ffn.layers.1": (c, 4 * c),
            }.items():
                shapes[f"stages.{i}.blocks.{j}.{name}.weight"] = shape
                shapes[f"stages.{i}.blocks.{j}.{name}.bias"] = shape[:1]
            table = f"stages.{i}.blocks.{j}.attn.w_msa.relative_position_bias_table"
            shapes[table] = ((2 * window_size - 1) ** 2, heads)
        if i + 1 < len(depths):
            shapes[f"stages.{i}.downsample.norm.weight"] = shapes[f"stages.{i}.downsample.norm.bias"] = (4 * c,)
            shapes[f"stages.{i}.downsample.reduction.weight"] = (2 * c, 4 * c)
        shapes[f"norm{i}.weight"] = shapes[f"norm{i}.bias"] = (c,)
    state = {name: torch.from_numpy(seeded_array(name, shape, weight_seed)) for name, shape in shapes.items()}
    index = relative_position_index(window_size)
    for name in list(state):
        if name.endswith("_table"):
            state[name.replace("_bias_table", "_index")] = index.clone()
    return state


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.fixture(scope="module")
def case():
    return min(cases(), key=lambda c: c.height * c.width * c.batch)


@pytest.fixture(scope="module")
def state(case):
    return reference_state(**ARCHITECTURE, weight_seed=case.weight_seed)


def test_state_dict_loads_strictly(state):
    assert str(SparseViT(**ARCHITECTURE).load_state_dict(state, strict=True)) == "<All keys matched successfully>"


@pytest.mark.parametrize(
    ("prefix", "wrap"),
    [
        ("", lambda s: s),
        ("backbone.", lambda s: s),
        ("backbone.", lambda s: {"state_dict": s, "meta": {"epoch": 1, "config": "model = dict()"}, "optimizer": {}}),
        ("module.backbone.", lambda s: {"state_dict": s}),
        ("module.", lambda s: {"model": s}),
        ("backbone.", lambda s: {"model": {}, "state_dict": s}),
    ],
)
def test_wrappers_and_prefixes(tmp_path, state, prefix, wrap):
    torch.save(wrap(prefixed(state, prefix)), tmp_path / "w.pth")
    loaded = load_checkpoint(tmp_path / "w.pth")
    assert (loaded.format, loaded.task, loaded.classes) == ("reference", "backbone", ())
    assert not loaded.network.training
    weights = loaded.network.state_dict()
    assert weights.keys() == state.keys() and all(torch.equal(weights[name], state[name]) for name in state)


def test_computes_what_the_reference_computes(tmp_path, case, state):
    save_file(prefixed(state, "backbone."), tmp_path / "w.safetensors")
    net = load_checkpoint(tmp_path / "w.safetensors").network
    images = torch.from_numpy(seeded_images(case.height, case.width, case.batch, case.input_seed))
    with torch.inference_mode():
        outputs = net(images, ratios=case.ratios)
    for output, positions, values in zip(outputs, case.positions, case.values, strict=True):
        assert np.abs(output.flatten().numpy()[positions] - values).max() < TOLERANCE


def test_detector_parts_are_ignored_and_counted(tmp_path, net, same_outputs, caplog):
    parts = {f"neck.lateral_convs.{i}.conv.weight": torch.ones(1) for i in range(4)}
    parts["roi_head.bbox_head.fc_cls.weight"] = torch.ones(2)
    torch.save({"state_dict": {**prefixed(net.state_dict(), "backbone."), **parts}}, tmp_path / "mask_rcnn.pth")
    with caplog.at_level(logging.WARNING):
        loaded = load_checkpoint(tmp_path / "mask_rcnn.pth")
    same_outputs(loaded.network, net)
    assert set(loaded.ignored) == set(parts)
    assert "5 keys outside the backbone are ignored (neck.lateral_convs.0.conv.weight" in caplog.text


def test_what_the_reference_converter_leaves_behind_is_dropped(tmp_path, net, same_outputs, caplog):
    leftovers = {
        "backbone.stages.0.blocks.1.attn_mask": torch.ones(4, 16, 16),
        "backbone.norm.weight": torch.ones(64),
        "backbone.norm.bias": torch.ones(64),
    }
    kept = {k: v for k, v in prefixed(net.state_dict(), "backbone.").items() if not k.startswith("backbone.norm")}
    torch.save({"state_dict": {**kept, **leftovers}}, tmp_path / "w.pth")
    with caplog.at_level(logging.WARNING):
        loaded = load_checkpoint(tmp_path / "w.pth")
    assert set(loaded.ignored) == set(leftovers)
    assert "no output norms for stages [0, 1, 2, 3]" in caplog.text
    for i in range(4):
        norm = getattr(net, f"norm{i}")
        torch.nn.init.ones_(norm.weight)
        torch.nn.init.zeros_(norm.bias)
    same_outputs(loaded.network, net)
