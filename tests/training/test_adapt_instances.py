"""Mask R-CNN adapted: from boxes and discs to their masks."""

import csv

import numpy as np
import pytest
import torch

from instance_data import NAMES, write_shapes
from sparsevit_exporter import InstanceModel
from sparsevit_exporter.checkpoints import load_checkpoint
from sparsevit_runtime.errors import DatasetError
from sparsevit_training.adaptation import Adaptation, adapt, build_model
from sparsevit_training.checkpoint import start_from
from sparsevit_training.datasets import open_dataset
from sparsevit_training.recipe import RecipeError, parse_recipe

MODEL = {
    "embed_dim": 16,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "drop_path_rate": 0,
    "head": "mask_rcnn",
    "head_channels": 16,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two would wait for each other longer than such small tensors take."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("shapes") / "data", 6)


@pytest.fixture
def recipe_of(shapes, tmp_path):
    def build(**changes):
        document = {
            "name": "shapes",
            "task": "instances",
            "output": str(tmp_path / "run"),
            "input": {"height": 128, "width": 128},
            "model": MODEL,
            "data": [shapes],
            "crops": [{"height": 128, "width": 128, "batch": 2}],
            "augmentation": {"scale": [1, 1], "fit": True, "aspect": 0, "rotation_degrees": 0, "color": 0},
            "plans": {"dense_share": 0.5, "ratios": [0, 0.25, 0.5]},
            "loss": {"proposals": 48, "regions": 24},
            "optimizer": {"lr": 0.003, "ema_decay": 0.9},
            "schedule": {"steps": 60, "warmup_steps": 5},
            "monitor": {"data": shapes, "every_steps": 60},
            "precision": "fp32",
            "threads": 1,
            "log_every": 10,
        }
        return parse_recipe({**document, **changes})

    return build


@pytest.mark.slow
def test_a_small_network_learns_the_masks_of_what_it_is_shown(recipe_of):
    model = adapt(recipe_of())
    with (model.parent / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for term in ("loss", "rpn_score", "class", "mask"):
        assert float(rows[-1][term]) < 0.7 * float(rows[0][term]), term
    loaded = load_checkpoint(model)
    assert type(loaded.network) is InstanceModel and [c.name for c in loaded.classes] == list(NAMES)
    precision = {m.ratio: m.value for m in loaded.metrics if m.name == "mask AP"}
    assert precision[0.0] > 15 and precision[0.5] > 8


def test_a_run_goes_on_from_a_model_of_the_same_heads_and_takes_the_backbone_of_another(recipe_of, tmp_path):
    recipe = recipe_of(schedule={"steps": 2, "warmup_steps": 0}, monitor={}, loss={"self_distillation": 1.0})
    model = adapt(recipe)
    for channels, taken in ((16, True), (8, False)):
        other = build_model(recipe_of(model={**MODEL, "head_channels": channels}), len(NAMES))
        assert start_from(other, model) is taken
        assert torch.equal(other.backbone.norm3.weight, load_checkpoint(model).network.backbone.norm3.weight)
    frozen = {**MODEL, "start": str(model), "frozen": ["backbone", "neck"]}
    run = Adaptation(recipe_of(model=frozen, output=str(tmp_path / "second"), monitor={}))
    trained = {name.partition(".")[0] for name, p in run.model.named_parameters() if p.requires_grad}
    assert trained == {"rpn_head", "roi_head"}


def test_views_hold_masks_where_their_objects_are(recipe_of):
    recipe = recipe_of(augmentation={"scale": [0.6, 1.4], "rotation_degrees": 20, "color": 0})
    maker = Adaptation(recipe).batches
    batch = maker.make(0)
    for image, (boxes, classes, masks) in zip(batch.images, batch.labels, strict=True):
        assert len(boxes) == len(classes) == len(masks)
        for box, kind, mask in zip(boxes, classes, masks):
            rows, columns = mask.nonzero().T
            assert box[0] - 1 <= columns.min() and columns.max() <= box[2] + 1
            assert box[1] - 1 <= rows.min() and rows.max() <= box[3] + 1
            blue, red = image[mask].float().mean(0)[[0, 2]]
            assert (red > blue) == (kind == 0)


def test_data_without_masks_teaches_no_instances(recipe_of, shapes):
    recipe = recipe_of()
    boxes = open_dataset(recipe.data[0], learns_from="boxes")
    assert boxes[0].boxes.masks is None
    with pytest.raises(DatasetError, match="has no masks to learn instances from"):
        Adaptation(recipe).objective.check(boxes)
    assert all(np.ndim(m["size"]) == 1 for m in open_dataset(recipe.data[0], learns_from="masks")[0].boxes.masks)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {**MODEL, "depths": [1, 1], "num_heads": [1, 1]}}, "Mask R-CNN has 4 stages"),
        ({"model": {**MODEL, "head": "pyramid"}}, "instances is trained with mask_rcnn"),
        ({"crops": [{"height": 100, "width": 128, "batch": 1}]}, r"multiples of 32 pixels.*\(100, 128\)"),
        ({"augmentation": {"mosaic_probability": 0.5}}, "no mosaic is made of masks"),
        ({"loss": {"importance": 1.0}}, "loss.importance is for segmentation"),
    ],
)
def test_recipes_that_do_not_suit_the_task_say_why(recipe_of, changes, told):
    with pytest.raises(RecipeError, match=told):
        recipe_of(**changes)
