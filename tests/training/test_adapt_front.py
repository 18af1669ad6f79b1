"""Recipes of networks on a convolutional front, with data of which only groups of classes are known."""

import cv2
import numpy as np
import pytest
import torch

from sparsevit_exporter.checkpoints import load_checkpoint
from sparsevit_runtime.errors import CheckpointError, DatasetError
from sparsevit_training.adaptation import Adaptation, adapt, build_model
from sparsevit_training.checkpoint import model_document, start_from
from sparsevit_training.datasets import ClassInfo
from sparsevit_training.recipe_parts import RecipeError
from yolox_files import write_yolox

CLASSES = tuple(ClassInfo(name, (0, 0, 0)) for name in ("Ground", "Thing", "Rare sign"))
GROUPS = {0: ["Ground"], 1: ["Thing", "Rare sign"]}
MODEL = {
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 1, 1],
    "window_size": 4,
    "head": "mlp",
    "head_channels": 8,
    "front_width": 4,
    "frozen": ["backbone.front.features"],
}


@pytest.fixture
def parts(folder, tmp_path):
    """The recipe's parts: a front's weights, and the tiny folder once more with coarse labels."""
    write_yolox(tmp_path / "yolox.onnx", 4)
    coarse = tmp_path / "coarse"
    (coarse / "train").mkdir(parents=True)
    (coarse / "train/images").symlink_to(folder / "train/images")
    (coarse / "train/labels").mkdir()
    for path in (folder / "train/labels").iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(coarse / "train/labels" / path.name), np.where(label == 3, 255, label.clip(0, 1)))
    fine = {"kind": "semantic_folder", "root": str(folder), "splits": ["train"], "void": [3]}
    data = [fine, {"kind": "coarse_folder", "root": str(coarse), "splits": ["train"], "groups": GROUPS}]
    return {"model": MODEL | {"front_weights": str(tmp_path / "yolox.onnx")}, "data": data}


def test_the_front_stays_groups_are_learned_and_biases_are_put_into_the_classifier(recipe_of, parts):
    recipe = recipe_of(**parts, class_bias={"images": 3, "ratios": [0.0]}, monitor={})
    run = Adaptation(recipe)
    before = {name: t.clone() for name, t in run.model.backbone.front.features.state_dict().items()}
    model = load_checkpoint(run.run()).network
    torch.testing.assert_close(model.backbone.front.features.state_dict(), before, rtol=0, atol=0)
    trained, tuned = run.ema.model.head.classify, model.head.classify
    torch.testing.assert_close(tuned.weight, trained.weight, rtol=0, atol=0)
    assert (tuned.bias - trained.bias).sum().abs() < 1e-5 and not torch.equal(tuned.bias, trained.bias)


def test_groups_of_other_classes_are_refused(recipe_of, parts):
    parts["data"][1]["groups"] = {0: ["Lawn"]}
    with pytest.raises(DatasetError, match=r"groups of coarse name \['Lawn'\]; the classes are Ground"):
        adapt(recipe_of(**parts))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"front_width": 0}, "front_weights without a front"),
        ({"front_width": 5}, "an even width"),
        ({"frozen": ["backbone"]}, "would keep random weights"),
    ],
)
def test_a_front_that_does_not_fit_is_refused(recipe_of, parts, changes, message):
    with pytest.raises(RecipeError, match=message):
        recipe_of(**parts | {"model": parts["model"] | changes})


@pytest.mark.parametrize("head", ["mlp", "pyramid"])
def test_a_front_before_a_network_without_one_says_nothing_at_first(recipe_of, parts, tmp_path, head):
    plain = {name: value for name, value in MODEL.items() if name not in ("front_width", "frozen")}
    start = build_model(recipe_of(model=plain), 3).eval()
    path = tmp_path / "start.pth"
    torch.save(model_document(start, CLASSES, recipe_of(model=plain), {}, []), path)
    fronted = build_model(recipe_of(model=parts["model"] | {"head": head}), 3).eval()
    assert start_from(fronted, path) is (head == "mlp")
    images = torch.randn(1, 3, 40, 56)
    torch.testing.assert_close(fronted.backbone(images), start.backbone(images))
    assert fronted.backbone.front.features.stem[0].weight.abs().max() > 0
    with pytest.raises(CheckpointError, match="holds a backbone"):
        start_from(build_model(recipe_of(model=plain | {"embed_dim": 16}), 3), path)
