import numpy as np
import pytest
import torch

from sparsevit_exporter import SparseViT
from sparsevit_exporter.checkpoints.architecture import build_backbone, infer_config, resize_bias_table
from sparsevit_exporter.checkpoints.states import BackboneState, KeyMismatch
from sparsevit_runtime.errors import CheckpointError


def sorted_state(state):
    return BackboneState(dict(state), {name: f"file.{name}" for name in state})


@pytest.mark.parametrize(
    "config",
    [
        {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 4], "window_size": 7},
        {"embed_dim": 12, "depths": [2, 2, 12, 2], "num_heads": [3, 6, 12, 24], "window_size": 2},
        {"embed_dim": 4, "depths": [1, 2], "num_heads": [1, 2], "window_size": 1},
    ],
)
def test_architecture_is_told_by_shapes(config):
    assert infer_config(SparseViT(**config).state_dict()) == config


def cubic_weights(source: int, target: int) -> np.ndarray:
    """(target, source) matrix of one-dimensional cubic convolution, a = -0.75, half-pixel centres, clamped edges."""
    matrix = np.zeros((target, source))
    for i in range(target):
        centre = (i + 0.5) * source / target - 0.5
        for j in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            d = abs(centre - j)
            if d <= 1:
                weight = 1.25 * d**3 - 2.25 * d**2 + 1
            else:
                weight = -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[i, min(max(j, 0), source - 1)] += weight
    return matrix


@pytest.mark.parametrize(("source", "target"), [(7, 12), (7, 4), (4, 5)])
def test_bias_table_is_interpolated_bicubically(source, target):
    table = np.random.RandomState(0).standard_normal(((2 * source - 1) ** 2, 3)).astype(np.float32)
    grid = table.reshape(2 * source - 1, 2 * source - 1, 3)
    m = cubic_weights(2 * source - 1, 2 * target - 1)
    expected = np.einsum("yi,xj,ijh->yxh", m, m, grid).reshape(-1, 3)
    np.testing.assert_allclose(resize_bias_table(torch.from_numpy(table), target).numpy(), expected, atol=1e-5)


def test_bias_table_of_the_same_window_is_untouched():
    table = torch.randn(49, 2)
    assert torch.equal(resize_bias_table(table, 4), table)


def test_another_window_size(net, images):
    resized = build_backbone(sorted_state(net.state_dict()), {"window_size": 5})
    assert resized.config == {**net.config, "window_size": 5}
    name = "stages.2.blocks.1.attn.w_msa.relative_position_bias_table"
    expected = resize_bias_table(net.state_dict()[name], 5)
    assert torch.equal(resized.state_dict()[name], expected) and expected.shape == (81, 2)
    with torch.inference_mode():
        assert [m.shape for m in resized(images)] == [m.shape for m in net(images)]


def test_overrides_that_agree_and_drop_path(net, same_outputs):
    loaded = build_backbone(sorted_state(net.state_dict()), {**net.config, "drop_path_rate": 0.3}).eval()
    same_outputs(loaded, net)
    assert loaded.stages[-1].blocks[-1].drop_path.rate == pytest.approx(0.3)


def test_absent_index_buffers_and_norms_are_rebuilt(net):
    kept = {k: v for k, v in net.state_dict().items() if "index" not in k and not k.startswith(("norm0", "norm2"))}
    loaded = build_backbone(sorted_state(kept))
    for name, tensor in loaded.state_dict().items():
        if name.startswith(("norm0", "norm2")):
            assert torch.equal(tensor, torch.full_like(tensor, float(name.endswith("weight"))))
        else:
            assert torch.equal(tensor, net.state_dict()[name])


def test_half_precision_becomes_float(net):
    loaded = build_backbone(
        sorted_state({k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()})
    )
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


QKV = "stages.1.blocks.0.attn.w_msa.qkv.weight"
TABLE = "stages.{}.blocks.{}.attn.w_msa.relative_position_bias_table"
INDEX = "stages.2.blocks.1.attn.w_msa.relative_position_index"


def without(*prefixes):
    return lambda s: {k: v for k, v in s.items() if not k.startswith(prefixes)}


def with_value(name, value):
    return lambda s: {**s, name: value(s.get(name)) if callable(value) else value}


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (without(QKV), None, rf"1 of the network's names missing \({QKV}\)"),
        (without("stages.0.downsample"), None, r"3 of the network's names missing \(stages.0.downsample.norm.weight"),
        (without("norm1.bias"), None, "1 of the network's names missing .norm1.bias"),
        (without("stages.1."), None, "but not stage 1"),
        (without("stages.2.blocks.0."), None, r"stage 2 has blocks \[1, 2\], but not block 0"),
        (without("stages."), None, "no blocks"),
        (without(TABLE.format(3, 0)), None, rf"missing \({TABLE.format(3, 0)}"),
        (with_value("stages.0.extra", torch.ones(1)), None, r"1 unknown keys .file.stages.0.extra"),
        (with_value("absolute_pos_embed", torch.ones(1)), None, "unknown keys .file.absolute_pos_embed"),
        (with_value(QKV, torch.ones(3, 3)), None, rf"file.{QKV} is \(3, 3\), the network's \(48, 16\)"),
        (with_value(QKV, lambda v: v * float("nan")), None, rf"file.{QKV} hold NaN or infinity"),
        (with_value(TABLE.format(1, 0), torch.ones(50, 2)), None, r"is \(50, 2\); a table has"),
        (with_value(TABLE.format(1, 0), torch.ones(49)), None, r"is \(49,\); a table has"),
        (with_value(TABLE.format(2, 1), torch.ones(81, 2)), None, r"orders relative"),
        (with_value(INDEX, lambda v: v.t().contiguous()), None, f"file.{INDEX} orders relative positions unlike Swin"),
        (with_value(INDEX, torch.arange(3)), None, "orders relative positions unlike Swin"),
        (dict, {"window": 7}, "unknown entries window; it takes embed_dim"),
        (dict, {"window_size": 0}, "window_size 0; it is a whole number"),
        (dict, {"window_size": "7"}, "window_size '7'"),
        (dict, {"embed_dim": 16}, r"other shapes: file.patch_embed.projection.weight is \(8, 3, 4, 4\)"),
        (dict, {"num_heads": (3, 3, 3, 3)}, "makes no network: 8 channels do not divide into 3 heads"),
        (dict, {"depths": (2, 1, 2, 2)}, r"unknown keys \(file.stages.2.blocks.2"),
    ],
)
def test_what_does_not_fit(net, change, config, message):
    state = sorted_state(change(net.state_dict()))
    with pytest.raises(CheckpointError, match=message):
        build_backbone(state, config)


def test_mixed_windows_can_be_made_one(net):
    state = {k: v for k, v in net.state_dict().items() if "index" not in k}
    state[TABLE.format(3, 0)] = state[TABLE.format(3, 1)] = torch.zeros(9, 4)
    with pytest.raises(KeyMismatch, match=r"windows of sizes \[2, 4\]; choose one"):
        build_backbone(sorted_state(state))
    assert build_backbone(sorted_state(state), {"window_size": 4}).window_size == 4
