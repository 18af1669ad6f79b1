import json
import math

import pytest
import torch
from safetensors.torch import save_file

from sparsevit_exporter import load_checkpoint
from sparsevit_exporter.checkpoints.huggingface import check_config, normalisation
from sparsevit_runtime.errors import CheckpointError

SPELLINGS = {
    "4": {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "attn.w_msa.proj": "attention.output.dense",
        "ffn.layers.0.0": "intermediate.dense",
        "ffn.layers.1": "output.dense",
        "attn.w_msa.relative_position": "attention.self.relative_position",
    },
    "5": {
        "q": "attention.q_proj",
        "k": "attention.k_proj",
        "v": "attention.v_proj",
        "attn.w_msa.proj": "attention.o_proj",
        "ffn.layers.0.0": "mlp.fc1",
        "ffn.layers.1": "mlp.fc2",
        "attn.w_msa.relative_position": "attention.relative_position_bias.relative_position",
    },
}


def grouped(tensor):
    """Merged channels from the reference's order to HuggingFace's, one by one."""
    channels = tensor.shape[-1] // 4
    out = torch.empty_like(tensor)
    for c in range(channels):
        for row in range(2):
            for column in range(2):
                out[..., (row + 2 * column) * channels + c] = tensor[..., 4 * c + 2 * row + column]
    return out


def huggingface_state(net, spelling, prefix="", norm_prefix=""):
    """The backbone's weights as HuggingFace names them; `prefix` before the encoder, `norm_prefix` before the norms."""
    names, state = SPELLINGS[spelling], {}
    for name, tensor in net.state_dict().items():
        part, _, kind = name.rpartition(".")
        if name.startswith("norm"):
            state[f"{norm_prefix}hidden_states_norms.stage{int(part[4:]) + 1}.{kind}"] = tensor
        elif name.startswith("patch_embed.projection"):
            state[f"{prefix}embeddings.patch_embeddings.projection.{kind}"] = tensor
        elif name.startswith("patch_embed.norm"):
            state[f"{prefix}embeddings.norm.{kind}"] = tensor
        elif ".downsample." in name:
            state[prefix + name.replace("stages", "encoder.layers")] = grouped(tensor)
        elif ".qkv" in name:
            block = prefix + name.partition(".attn")[0].replace("stages", "encoder.layers")
            third = len(tensor) // 3
            for i, letter in enumerate("qkv"):
                state[f"{block}.{names[letter]}.{kind}"] = tensor[i * third : (i + 1) * third].clone()
        else:
            renamed = name.replace("stages", "encoder.layers")
            for ours, theirs in {**names, "norm1": "layernorm_before", "norm2": "layernorm_after"}.items():
                if len(ours) > 1:
                    renamed = renamed.replace(f".{ours}", f".{theirs}")
            state[prefix + renamed] = tensor
    return state


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    ("prefix", "norm_prefix"),
    [("", ""), ("swin.", ""), ("model.", "model."), ("backbone.", "backbone."), ("model.swin.", "model.")],
)
def test_spellings_and_prefixes(tmp_path, net, same_outputs, spelling, prefix, norm_prefix):
    state = huggingface_state(net, spelling, prefix, norm_prefix)
    unused = {f"{norm_prefix}swin.layernorm.weight": torch.ones(64)}
    torch.save({**state, **unused}, tmp_path / "w.bin")
    loaded = load_checkpoint(tmp_path / "w.bin")
    assert (loaded.format, set(loaded.ignored)) == ("huggingface", set(unused))
    assert loaded.network.config == net.config
    same_outputs(loaded.network, net)


def test_classifier_is_ignored(tmp_path, net):
    state = {k: v for k, v in huggingface_state(net, "4", "swin.").items() if "hidden_states_norms" not in k}
    classifier = {"classifier.weight": torch.ones(5, 64), "swin.layernorm.bias": torch.ones(64)}
    save_file({**state, **classifier}, tmp_path / "model.safetensors")
    loaded = load_checkpoint(tmp_path)
    assert set(loaded.ignored) == set(classifier)
    assert torch.equal(loaded.network.norm3.weight, torch.ones(64))


QUERY = "encoder.layers.0.blocks.0.attention.self.query.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(QUERY), r"self.key.weight, .*self.value.weight lacks its q counterpart"),
        (lambda s: s.update({QUERY: torch.ones(4, 8)}), r"differ in shape: \[\(4, 8\), \(8, 8\), \(8, 8\)\]"),
        (lambda s: s.update({QUERY.replace("self.query", "q_proj"): s[QUERY]}), "both stand for"),
        (lambda s: s.update({"embeddings.position_embeddings": torch.ones(1)}), "embeddings.position_embeddings"),
        (lambda s: s.update({"decoder.0.weight": torch.ones(1)}), "1 unknown keys .decoder.0.weight"),
        (lambda s: s.pop("encoder.layers.2.downsample.norm.bias"), r"missing \(stages.2.downsample.norm.bias"),
    ],
)
def test_what_does_not_fit(tmp_path, net, change, message):
    state = huggingface_state(net, "4")
    change(state)
    torch.save(state, tmp_path / "w.bin")
    with pytest.raises(CheckpointError, match=rf"read as huggingface: .*{message}.*Closest format: huggingface"):
        load_checkpoint(tmp_path / "w.bin")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, None),
        ({"model_type": "swin", "hidden_act": "gelu", "layer_norm_eps": 1e-5, "patch_size": 4}, None),
        ({"model_type": "upernet", "backbone_config": {"model_type": "swin"}}, None),
        ({"model_type": "swinv2"}, "model_type 'swinv2'; only 'swin' fits"),
        ({"model_type": "upernet", "backbone_config": {"model_type": "convnext"}}, "model_type 'convnext'"),
        ({"hidden_act": "relu", "patch_size": 2}, r"patch_size 2 \(needs 4\), hidden_act 'relu' \(needs 'gelu'\)"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps 1e-06"),
        ({"use_absolute_embeddings": True}, "use_absolute_embeddings True"),
    ],
)
def test_config(config, message):
    if message is None:
        check_config(config)
    else:
        with pytest.raises(CheckpointError, match=message):
            check_config(config)


@pytest.mark.parametrize(
    ("preprocessor", "expected"),
    [
        ({}, None),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": False}, ((0.0,) * 3, (255.0,) * 3)),
        ({"do_normalize": False, "do_rescale": False}, ((0.0,) * 3, (1.0,) * 3)),
        ({"image_mean": [90] * 3, "image_std": [50] * 3, "do_rescale": False}, ((90.0,) * 3, (50.0,) * 3)),
        (
            {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
            ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ),
        ({"image_mean": 0.5, "image_std": 0.25}, ((127.5,) * 3, (63.75,) * 3)),
        ({"image_mean": [1, 2, 3], "image_std": [1, 1, 2], "rescale_factor": 1}, ((1.0, 2.0, 3.0), (1.0, 1.0, 2.0))),
    ],
)
def test_normalisation(preprocessor, expected):
    assert normalisation(preprocessor) == expected


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0.5], [0.5]),
        ([0, 0, 0], [1, 1, 0]),
        ("abc", [1, 1, 1]),
        ([0, 0, math.nan], [1, 1, 1]),
        ([0, 0, 0], [1, 1, math.inf]),
        (0, math.nan),
    ],
)
def test_invalid_normalisation(mean, std):
    with pytest.raises(CheckpointError, match="preprocessor_config.json is invalid"):
        normalisation({"image_mean": mean, "image_std": std})


def test_directory_with_sidecars(tmp_path, net):
    save_file(huggingface_state(net, "4"), tmp_path / "model.safetensors")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    loaded = load_checkpoint(tmp_path)
    assert (loaded.mean, loaded.std) == ((127.5,) * 3, (63.75,) * 3)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "swinv2"}))
    with pytest.raises(CheckpointError, match=f"{tmp_path}: its config.json says model_type 'swinv2'"):
        load_checkpoint(tmp_path)


@pytest.fixture(scope="module")
def swin_backbone():
    transformers = pytest.importorskip("transformers", reason="compares with the transformers package itself")
    config = transformers.SwinConfig(
        embed_dim=8,
        depths=[1, 2, 2, 2],
        num_heads=[1, 2, 2, 4],
        window_size=7,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    net = transformers.SwinBackbone(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.1 + 1 if "norm" in name and name.endswith("weight") else noise * 0.2)
    return net


@pytest.mark.parametrize("saved", ["directory", "memory"])
def test_computes_what_transformers_computes(tmp_path, swin_backbone, saved):
    if saved == "directory":
        swin_backbone.save_pretrained(tmp_path)
        path = tmp_path
    else:
        path = tmp_path / "w.pth"
        torch.save(swin_backbone.state_dict(), path)
    loaded = load_checkpoint(path)
    assert loaded.format == "huggingface"
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = swin_backbone(images).feature_maps
        actual = loaded.network(images)
    for a, b in zip(actual, expected, strict=True):
        assert (a - b).abs().max() < 1e-4
