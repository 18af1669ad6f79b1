"""A folder as transformers saves it, from the command line to labels."""

import numpy as np
import pytest

from networks import randomize
from sparsevit_runtime.model import load

transformers = pytest.importorskip("transformers", reason="saves a folder with the transformers package itself")

NAMES = ("road", "car", "sky")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Mask2Former on Swin, as small as it gets."""
    path = tmp_path_factory.mktemp("hub") / "mask2former-swin-nano"
    stages = [f"stage{i}" for i in range(1, 5)]
    swin = transformers.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2, out_features=stages
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=swin,
        id2label=dict(enumerate(NAMES)),
        feature_size=32,
        mask_feature_size=16,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        num_queries=5,
        decoder_layers=2,
        encoder_layers=1,
        num_attention_heads=2,
    )
    randomize(transformers.Mask2FormerForUniversalSegmentation(config), seed=1).save_pretrained(path)
    transformers.Mask2FormerImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(path)
    return path


@pytest.mark.slow
def test_a_folder_of_transformers_becomes_a_model(sparsevit, folder, tmp_path):
    out = tmp_path / "streets.onnx"
    said = sparsevit("export", folder, "-o", out, "--size", "64x128", "--post-processing", "huggingface")
    assert said.code == 0, said.err
    with load(out, threads=1) as model:
        frame = np.random.RandomState(0).randint(0, 256, (90, 160, 3), np.uint8)
        dense, pruned = model(frame), model(frame, sparsity=0.5)
        card = model.card
    assert (card.name, card.task, card.class_names) == ("streets", "segmentation", NAMES)
    assert "masks to labels as huggingface" in card.producer
    assert (card.input.mean, card.input.std) == ((127.5,) * 3, (63.75,) * 3)
    assert {"pixel_decoder", "transformer_decoder", "labels"} <= set(card.architecture.head_macs)
    for result in (dense, pruned):
        assert result.label_map.shape == (90, 160) and set(np.unique(result.label_map)) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--post-processing", "mmdet"), "mmdet"),
        (("--proposals", "5"), "proposals is no option of segmentation"),
        (("--task", "instances"), "it has no instances head"),
    ],
)
def test_what_a_folder_does_not_give_says_why(sparsevit, folder, tmp_path, options, told):
    said = sparsevit("export", folder, "-o", tmp_path / "m.onnx", "--size", "64x128", *options)
    assert said.code != 0 and told in " ".join(said.err.split())
    assert not list(tmp_path.iterdir())
