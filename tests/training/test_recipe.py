from pathlib import Path

import pytest
import yaml

from sparsevit_training.recipe import RecipeError, changed_keys, load_recipe, parse_recipe

SHIPPED = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))

MINIMAL = {
    "name": "x",
    "output": "runs/x",
    "input": {"height": 64, "width": 96},
    "data": [{"kind": "street"}],
    "crops": [{"height": 32, "width": 32, "batch": 2}],
    "schedule": {"steps": 10},
}


def test_shipped_recipes_exist():
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_and_relative(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    roots = [d.root for d in recipe.data if d.kind == "semantic_folder"]
    assert not any(p.is_absolute() for p in [*roots, recipe.output])


def test_overrides_reach_lists_and_missing_parents(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    recipe = load_recipe(path, {"data.0.scenes": 3, "optimizer.lr": 0.5, "crops.0.batch": 7})
    assert (recipe.data[0].scenes, recipe.optimizer.lr, recipe.crops[0].batch) == (3, 0.5, 7)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"data": []}, "data"),
        ({"data": [{"kind": "lmdb"}]}, "data.0"),
        ({"schedule": {"steps": 0}}, "schedule.steps"),
        ({"augmentation": {"scale": [2.0, 1.0]}}, "augmentation"),
        ({"learning_rate": 1}, "learning_rate"),
        ({"input": {"height": 64}}, "input.width"),
        ({"teacher": {"path": "t.onnx", "features": [["a"]], "strides": [8, 16]}}, "teacher"),
        ({"plans": {"ratios": [2.0]}}, "plans.ratios.0"),
        ({"plans": {"ratios": []}}, "plans.ratios"),
        ({"monitor": {"ratios": [-0.1]}}, "monitor.ratios.0"),
        ({"input": {"height": 64, "width": 96, "std": [0, 1, 1]}}, "input.std.0"),
        ({"input": {"height": 64, "width": 96, "mean": [float("nan"), 0, 0]}}, "input.mean.0"),
        ({"optimizer": {"betas": [2, 3]}}, "optimizer.betas.0"),
        ({"seed": -1}, "seed"),
        ({"model": {"depths": [2, 2]}}, "one entry per stage"),
        ({"model": {"embed_dim": 8, "depths": [2, 2], "num_heads": [3, 2]}}, "3 heads cannot share"),
        ({"task": "karaoke"}, r"task: .*'karaoke'; a recipe can name segmentation or detection"),
        ({"task": "detection", "model": {"depths": [2, 2], "num_heads": [1, 2]}}, "4 stages"),
        ({"task": "detection", "model": {"head": "mlp"}}, "model.head is 'mlp'; detection is trained with pyramid"),
        (
            {"model": {"head": "mask2former"}},
            "model.head is 'mask2former'; segmentation is trained with",
        ),
        ({"task": "instances", "loss": {"importance": 0.5}}, "loss.importance is for segmentation and detection"),
        ({"task": "instances", "monitor": {"agreement": True}}, "monitor.agreement is for segmentation and detection"),
        ({"teacher": {"path": "y.onnx"}}, "teaches features, answers .grid., or both"),
    ],
)
def test_mistakes_are_named(change, named):
    with pytest.raises(RecipeError, match=named):
        parse_recipe({**MINIMAL, **change})


@pytest.mark.parametrize(
    "text",
    [None, "a: [", "- 1\n- 2\n", "[" * 3000, "seed: " + "9" * 5000, "seed: 2026-99-99"],
    ids=["absent", "not yaml", "a list", "nested too deep", "a number too long", "no such day"],
)
def test_unreadable_files(tmp_path, text):
    path = tmp_path / "r.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecipeError, match=r"r\.yaml"):
        load_recipe(path)


@pytest.mark.parametrize("key", ["name.first", "data.9.root", "data.x.root", "crops.5"])
def test_overrides_that_lead_nowhere(tmp_path, key):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(RecipeError, match="override"):
        load_recipe(path, {key: 1})


def test_changed_keys_ignore_the_place_of_the_run():
    before = parse_recipe(MINIMAL)
    after = parse_recipe({**MINIMAL, "output": "elsewhere", "threads": 4, "seed": 9})
    assert changed_keys(before, after) == ["seed"]
