"""Mask2Former of transformers, saved by it and compared with it."""

import json
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file

from networks import randomize
from sparsevit_exporter import load_checkpoint
from sparsevit_exporter.checkpoints.differences import differences
from sparsevit_exporter.checkpoints.states import KeyMismatch
from sparsevit_exporter.tasks.segmentation import Mask2FormerModel
from sparsevit_runtime.errors import CheckpointError
from sparsevit_runtime.windows.geometry import stage_geometries

transformers = pytest.importorskip("transformers", reason="compares with the transformers package itself")

NAMES = ("road", "car", "sky", "tree", "road")  # names may repeat
#: Pixels at which no map of the tiny network is padded or as small as a window.
SIZES = ((128, 128), (64, 192))


def original(embed_dim=16, depths=(2, 2, 1, 1), num_heads=(1, 2, 2, 4), window_size=2, **changes):
    """transformers' network with random weights of which every one matters."""
    swin = transformers.SwinConfig(
        embed_dim=embed_dim,
        depths=list(depths),
        num_heads=list(num_heads),
        window_size=window_size,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    small = {
        "feature_size": 64,
        "mask_feature_size": 32,
        "hidden_dim": 64,
        "encoder_feedforward_dim": 48,
        "dim_feedforward": 80,
        "num_queries": 10,
        "decoder_layers": 5,
        "encoder_layers": 2,
        "num_attention_heads": 4,
    }
    config = transformers.Mask2FormerConfig(
        backbone_config=swin, id2label=dict(enumerate(NAMES)), **{**small, **changes}
    )
    network = randomize(transformers.Mask2FormerForUniversalSegmentation(config), seed=1)
    with torch.no_grad():  # queries that differ
        network.class_predictor.weight.mul_(4)
        network.model.transformer_module.queries_features.weight.mul_(8)
    return network


def assert_same(network: Mask2FormerModel, theirs, sizes=SIZES, batch=2) -> None:
    for size in sizes:
        images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(sum(size)))
        with torch.inference_mode():
            expected, found = theirs(images), network(images)
        assert (found.class_logits - expected.class_queries_logits).abs().max() < 1e-4
        assert (found.mask_logits - expected.masks_queries_logits).abs().max() < 1e-4
        assert expected.masks_queries_logits.std() > 0.1  # there is something to be compared


@pytest.fixture(scope="module")
def theirs():
    return original()


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mask2former")
    theirs.save_pretrained(folder)
    transformers.Mask2FormerImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    return load_checkpoint(folder)


@pytest.fixture
def changed(folder, tmp_path) -> Callable:
    """Function (changes to the config, change of the weights) -> another folder."""

    def make(changes=None, alter=lambda state: None):
        state = load_file(folder / "model.safetensors")
        alter(state)
        save_file(state, tmp_path / "model.safetensors")
        document = json.loads((folder / "config.json").read_text())
        document["backbone_config"] |= (changes or {}).pop("backbone_config", {})
        (tmp_path / "config.json").write_text(json.dumps({**document, **(changes or {})}))
        return tmp_path

    return make


def test_it_computes_what_transformers_computes(loaded, theirs):
    assert (loaded.format, loaded.task) == ("mask2former", "segmentation")
    assert [c.name for c in loaded.classes] == list(NAMES)
    assert (loaded.mean, loaded.std) == ((127.5,) * 3, (63.75,) * 3)
    assert "criterion.empty_weight" in loaded.ignored and len(loaded.ignored) < 5
    assert_same(loaded.network, theirs)


def test_it_is_read_as_transformers_5_names_it_in_memory(theirs, loaded, tmp_path):
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    other = load_checkpoint(tmp_path / "w.pth")
    state, expected = other.network.state_dict(), loaded.network.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert [c.name for c in other.classes] == [f"class {i}" for i in range(len(NAMES))]


def test_maps_are_projected_where_widths_differ_or_it_is_asked_for(tmp_path):
    for i, changes in enumerate(({"hidden_dim": 32}, {"enforce_input_projection": True})):
        network = original(**changes)
        network.save_pretrained(tmp_path / str(i))
        assert_same(load_checkpoint(tmp_path / str(i)).network, network, SIZES[:1])


def test_a_query_without_a_mask_looks_everywhere(tmp_path):
    """All pixels look alike here, so each query's first mask is the whole image or nothing."""
    network = original()
    with torch.no_grad():
        projection = network.model.pixel_level_module.decoder.mask_projection
        projection.weight.zero_()
        projection.bias.normal_(0, 0.5, generator=torch.Generator().manual_seed(2))
        network.model.transformer_module.decoder.mask_predictor.mask_embedder.get_submodule("2.0").bias.zero_()
    network.save_pretrained(tmp_path)
    ours = load_checkpoint(tmp_path).network
    with torch.inference_mode():
        decoder = ours.head.transformer_decoder
        first = decoder.decoder.embed(decoder.queries_features.weight) @ projection.bias
        assert 0 < int((first < 0).sum()) < len(first)
    assert_same(ours, network, SIZES[:1])


@pytest.mark.parametrize("size", [(101, 67), (96, 160)])
def test_the_head_alone_is_theirs_at_any_size(loaded, theirs, size):
    """Maps of odd sizes, in none of which one row is a whole number of rows of the next."""
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = theirs(images)
        found = loaded.network.head(theirs.model.pixel_level_module.encoder(images).feature_maps)
    assert (found.class_logits - expected.class_queries_logits).abs().max() < 1e-4
    assert (found.mask_logits - expected.masks_queries_logits).abs().max() < 1e-4


def test_export_says_where_padding_makes_a_difference():
    depths = (2, 2, 18, 2)
    assert differences("mask2former", stage_geometries(448, 896, depths, 7)) is None
    told = differences("mask2former", stage_geometries(512, 1024, depths, 7))
    assert "this mask2former Swin: it pads before the norm (stages 1, 2, 3, 4; not at multiples of 224 pixels)" in told


def test_its_backbone_alone(folder, loaded):
    backbone = load_checkpoint(folder, format="huggingface")
    assert (backbone.task, backbone.format) == ("backbone", "huggingface")
    expected = loaded.network.backbone.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in backbone.network.state_dict().items())


QUERIES = "model.transformer_module.queries_features.weight"


@pytest.mark.parametrize(
    ("config", "alter", "message"),
    [
        ({"backbone_config": {"model_type": "resnet"}}, None, "whose backbone is 'resnet'; only those on a Swin"),
        ({"backbone_config": {"window_size": 2, "patch_size": 2}}, None, r"patch_size 2 \(needs 4\)"),
        ({"backbone": "resnet50"}, None, "whose backbone is 'resnet50'"),
        (
            {"backbone_config": {"out_features": ["stage2", "stage4"]}},
            None,
            "its head reads stage2, stage4 of",
        ),
        ({"backbone_config": {"out_features": 4}}, None, "its head reads 4 of"),
        ({"backbone_config": {"out_features": [1, 2]}}, None, "its head reads 1, 2 of"),
        ({"pre_norm": True}, None, r"pre_norm True \(needs False\), which this head does not implement"),
        ({"activation_function": "gelu"}, None, "activation_function 'gelu'"),
        ({"num_attention_heads": 8}, None, "says 8 attention heads, its weights are of 4"),
        ({"id2label": {"0": "road"}}, None, "names 1 classes in id2label, its head has 5"),
        ({"id2label": {str(i): "x" * 300 for i in range(5)}}, None, "invalid id2label: name"),
        ({}, lambda s: s.pop("class_predictor.weight"), "its head lacks 'class_predictor.weight'"),
        ({}, lambda s: s.pop("class_predictor.bias"), r"read as mask2former: 1 of .* missing \(class_predictor.bias\)"),
        ({}, lambda s: s.update({"model.other.weight": torch.ones(2)}), r"1 unknown keys \(model.other.weight\)"),
        ({}, lambda s: s.update({QUERIES: torch.ones(10)}), "its head lacks"),
        ({}, lambda s: s.update({QUERIES: torch.ones(10, 62)}), "its head is none of Mask2Former: .*channels 62"),
        ({}, lambda s: s.update({QUERIES: torch.full((10, 64), torch.nan)}), "queries_features.weight hold NaN"),
    ],
)
def test_what_does_not_fit(changed, config, alter, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(changed(dict(config), alter or (lambda state: None)))


@pytest.mark.parametrize("found", ["swin", [1], 3])
def test_a_config_whose_backbone_is_no_object(changed, found):
    folder = changed()
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**document, "backbone_config": found}))
    with pytest.raises(CheckpointError, match="backbone_config '.*', where a JSON object belongs; take the config"):
        load_checkpoint(folder)


def test_a_folder_that_does_not_say_how_pixels_are_normalised(changed, caplog):
    assert load_checkpoint(changed()).mean == (123.675, 116.28, 103.53)
    (told,) = [record.getMessage() for record in caplog.records]
    assert "has no preprocessor_config.json beside it: pixels are normalised as ImageNet's" in told


def test_a_backbone_that_is_no_swin_and_is_not_named(changed):
    def alter(state):
        for name in [name for name in state if ".pixel_level_module.encoder." in name]:
            del state[name]

    with pytest.raises(CheckpointError, match="whose backbone is no Swin Transformer"):
        load_checkpoint(changed({}, alter))


def test_a_truncated_encoder_is_no_smaller_network(changed):
    def alter(state):
        for name in [name for name in state if "decoder.encoder.layers.0." in name]:
            del state[name]

    with pytest.raises(KeyMismatch, match="its head lacks 'pixel_decoder.encoder.layers.0"):
        load_checkpoint(changed({}, alter))


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        ({"model_type": "maskformer"}, None, "it is a MaskFormer, .* or export its backbone alone with --format hugg"),
        ({"model_type": "oneformer"}, None, "it is a OneFormer, .* or export its backbone alone with --format hugg"),
        ({}, "model.pixel_level_module.decoder.fpn.stem.0.weight", "it is a MaskFormer"),
        ({}, "model.task_encoder.task_mlp.layers.0.0.weight", "it is a OneFormer"),
        ({}, "sem_seg_head.predictor.query_feat.weight", "it is a Mask2Former as detectron2 saves it; .*microsoft"),
        ({}, "decode_head.query_feat.weight decode_head.pixel_decoder.a.weight", "as mmdetection or mmsegmentation"),
    ],
)
def test_relatives_are_named(changed, config, key, message):
    def alter(state):
        for name in [name for name in state if ".pixel_level_module.encoder." not in name]:
            del state[name]
        state.update({name: torch.ones(2) for name in (key or "").split()})

    path = changed(dict(config), alter)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)
