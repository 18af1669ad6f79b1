import csv
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import detection_data
from sparsevit_exporter.checkpoints import load_checkpoint
from sparsevit_exporter.tasks.segmentation import MlpSegmentationModel
from sparsevit_runtime.errors import CheckpointError, DatasetError, SinkError
from sparsevit_training.adaptation import (
    MAX_BAD_STEPS,
    Adaptation,
    TrainingError,
    adapt,
    build_model,
    choose_autocast,
    choose_device,
)
from sparsevit_training.batch import normalize
from sparsevit_training.checkpoint import start_from
from sparsevit_training.datasets import IGNORE
from sparsevit_training.importance import importance_loss, stage_inputs
from sparsevit_training.optimizer import build_optimizer
from sparsevit_training.recipe_parts import RecipeError


def weights(path):
    return load_checkpoint(path).network.state_dict()


def test_training_lowers_the_loss_and_leaves_its_files(recipe_of):
    recipe = recipe_of(schedule={"steps": 24, "warmup_steps": 2}, optimizer={"lr": 0.01, "ema_decay": 0.9})
    model = adapt(recipe)
    with (recipe.output / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(r["loss"]) for r in rows]
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])
    assert [int(r["step"]) for r in rows] == list(range(24))
    assert [r["step"] for r in rows if r["miou_50"]] == [str(s) for s in range(3, 24, 4)]
    assert any(float(r["pruned"]) > 0 for r in rows) and any(float(r["pruned"]) == 0 for r in rows)
    assert sorted(p.name for p in recipe.output.iterdir()) == ["last.pth", "log.csv", "model.pth"]
    loaded = load_checkpoint(model)
    assert {m.ratio for m in loaded.metrics} == {0.0, 0.5}
    assert [c.name for c in loaded.classes] == ["Ground", "Thing", "Rare sign"]


def test_another_head_is_trained_and_started_from(recipe_of, tmp_path):
    small = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4, "head_channels": 8, "head": "mlp"}
    recipe = recipe_of(model=small, schedule={"steps": 24, "warmup_steps": 2}, optimizer={"lr": 0.01, "ema_decay": 0.9})
    model = adapt(recipe)
    with (recipe.output / "log.csv").open(newline="") as file:
        losses = [float(r["loss"]) for r in csv.DictReader(file)]
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])
    loaded = load_checkpoint(model)
    assert type(loaded.network) is MlpSegmentationModel
    assert {m.ratio for m in loaded.metrics} == {0.0, 0.5}
    for head, taken in (("mlp", True), ("pyramid", False)):
        other = build_model(recipe_of(model={**small, "head": head}), 3)
        assert start_from(other, model) is taken


@pytest.mark.slow
def test_a_resumed_run_equals_an_unbroken_one(recipe_of, tmp_path):
    unbroken = weights(adapt(recipe_of(output=str(tmp_path / "unbroken"))))
    broken = recipe_of(output=str(tmp_path / "broken"))
    adapt(broken, stop_at=3)
    adapt(broken, stop_at=6)
    assert torch.load(broken.output / "last.pth", weights_only=True)["resume"]["step"] == 6
    resumed = weights(adapt(broken))
    torch.testing.assert_close(resumed, unbroken, rtol=0, atol=0)
    other = weights(adapt(recipe_of(output=str(tmp_path / "other"), seed=4)))
    assert any(not torch.equal(other[k], v) for k, v in unbroken.items())


_KILLED = """
import os, signal, sys
from sparsevit_training.adaptation import Adaptation
from sparsevit_training.recipe import Recipe

class Doomed(Adaptation):
    def save(self):
        super().save()
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

Doomed(Recipe.model_validate_json(open(sys.argv[1]).read())).run()
"""


@pytest.mark.slow
def test_a_killed_run_equals_an_unbroken_one(recipe_of, tmp_path):
    unbroken = weights(adapt(recipe_of(output=str(tmp_path / "unbroken"))))
    recipe = recipe_of(output=str(tmp_path / "killed"), save_every_minutes=1e-9)
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "recipe.json")], env=environment)
    assert process.returncode == -signal.SIGKILL
    assert torch.load(recipe.output / "last.pth", weights_only=True)["resume"]["step"] == 3
    torch.testing.assert_close(weights(adapt(recipe)), unbroken, rtol=0, atol=0)


def test_starting_over(recipe_of):
    recipe = recipe_of()
    adapt(recipe, stop_at=4)
    again = Adaptation(recipe, resume=False)
    assert again.step == 0
    again.save = lambda: None  # killed before its first checkpoint
    again.run(stop_at=1)
    assert Adaptation(recipe).step == 0  # the earlier run is not what goes on


@pytest.mark.timed
def test_the_budget_ends_a_run(recipe_of):
    recipe = recipe_of(schedule={"steps": 10**6, "budget_minutes": 2 / 60}, monitor={})
    start = time.monotonic()
    adapt(recipe)
    assert time.monotonic() - start < 20
    assert torch.load(recipe.output / "last.pth", weights_only=True)["resume"]["step"] < 10**6


def test_a_budget_too_short_for_a_step_is_told(recipe_of):
    recipe = recipe_of(schedule={"steps": 8, "budget_minutes": 1e-9})
    with pytest.raises(TrainingError, match="budget_minutes"):
        adapt(recipe)
    assert not (recipe.output / "model.pth").exists()


def test_bad_samples_are_named_and_skipped(recipe_of, folder, caplog):
    (folder / "train" / "labels" / "002.png").unlink()
    with caplog.at_level(logging.WARNING):
        run = Adaptation(recipe_of())
    assert len(run.datasets[0]) == 5
    assert "002.png" in caplog.text and "no label" in caplog.text


def test_mismatched_data_is_refused(recipe_of, folder):
    data = [
        {"kind": "semantic_folder", "root": str(folder), "splits": ["train"], "void": [3]},
        {"kind": "street", "scenes": 1, "frames_per_scene": 1, "width": 96, "height": 64},
    ]
    with pytest.raises(DatasetError, match="same classes in the same order"):
        Adaptation(recipe_of(data=data))


def test_checkpoints_of_another_model_are_refused(recipe_of):
    adapt(recipe_of(), stop_at=1)
    wider = {"embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4, "head_channels": 8}
    with pytest.raises(CheckpointError, match="another model or recipe"):
        Adaptation(recipe_of(model=wider))


def test_a_changed_recipe_is_told(recipe_of, caplog):
    adapt(recipe_of(), stop_at=1)
    with caplog.at_level(logging.WARNING):
        Adaptation(recipe_of(optimizer={"lr": 0.5}))
    assert "changed since: optimizer" in caplog.text


def test_a_loss_that_stays_infinite_ends_the_run(recipe_of):
    run = Adaptation(recipe_of(schedule={"steps": 100}, monitor={}))
    before = {k: v.clone() for k, v in run.ema.model.state_dict().items()}
    with torch.no_grad():
        run.model.head.classify.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=f"{MAX_BAD_STEPS} steps"):
        run.run()
    torch.testing.assert_close(run.ema.model.state_dict(), before)  # nothing of it reached what ships


def poison(run, steps):
    """Images of these steps hold an infinity, as an overflow in half precision does."""
    make = run.batches.make

    def poisoned(step):
        batch = make(step)
        if step in steps:
            batch = replace(batch, images=batch.images.float().index_fill(0, torch.tensor([0]), float("inf")))
        return batch

    run.batches.make = poisoned


@pytest.mark.slow
def test_one_bad_step_leaves_no_trace(recipe_of):
    """Neither in weights nor in the statistics of batch norms, which a forward pass moves."""
    recipe = recipe_of(loss={"self_distillation": 1.0}, schedule={"steps": 12, "warmup_steps": 1})
    run = Adaptation(recipe)
    poison(run, {1})
    state = weights(run.run())
    assert all(torch.isfinite(v).all() for v in state.values())
    last = torch.load(recipe.output / "last.pth", weights_only=True)["resume"]
    assert last["step"] == 12 and all(torch.isfinite(v).all() for v in last["model"].values())


def test_bad_steps_at_the_end_are_no_success(recipe_of):
    recipe = recipe_of(monitor={})
    run = Adaptation(recipe)
    poison(run, {5, 6, 7})
    with pytest.raises(TrainingError, match="the last 3 steps"):
        run.run()
    assert not (recipe.output / "last.pth").exists()


def test_data_of_another_task_is_refused(recipe_of, folder, tmp_path):
    four = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4, "head_channels": 8}
    with pytest.raises(DatasetError, match="no boxes"):
        Adaptation(recipe_of(task="detection", model=four, monitor={}))
    detection_data.write_coco(tmp_path / "a.json", tmp_path / "images")
    boxes = {"kind": "coco", "annotations": str(tmp_path / "a.json"), "images": str(tmp_path / "images")}
    boxes["categories"] = ["person", "car"]
    with pytest.raises(DatasetError, match="no boxes"):
        Adaptation(recipe_of(task="detection", model=four, data=[boxes], augmentation={}))  # monitored on label maps


def test_masks_of_coco_json_are_segmented(recipe_of, tmp_path):
    detection_data.write_coco(tmp_path / "a.json", tmp_path / "images")
    data = {"kind": "coco", "annotations": str(tmp_path / "a.json"), "images": str(tmp_path / "images")}
    data["categories"] = ["person", "car"]
    recipe = recipe_of(data=[data], monitor={"data": data, "every_steps": 4}, augmentation={})
    loaded = load_checkpoint(adapt(recipe))
    assert [c.name for c in loaded.classes] == ["background", "person", "car"] and loaded.metrics


@pytest.mark.parametrize("device", ["banana", "cuda:77"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(TrainingError, match=device):
        choose_device(device)


def test_rare_classes_that_the_data_lacks(recipe_of):
    with pytest.raises(DatasetError, match="rare_classes"):
        Adaptation(recipe_of(augmentation={"rare_classes": [99]}))


def test_an_output_that_cannot_be_made(recipe_of, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="file"):
        adapt(recipe_of(output=str(tmp_path / "file")))


@pytest.mark.slow
def test_teacher_and_unlabelled_images(recipe_of, folder, teacher_file, tmp_path):
    images = tmp_path / "plain"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    recipe = recipe_of(
        data=[
            {"kind": "semantic_folder", "root": str(folder), "splits": ["train"], "void": [3]},
            {"kind": "unlabelled", "paths": [str(images)], "until": 0.5},
        ],
        teacher={"path": str(teacher_file), "features": [["s4"], ["s8"]], "strides": [4, 8], "first_stage": 0},
        schedule={"steps": 30, "warmup_steps": 2},
        optimizer={"lr": 0.01},
    )
    model = adapt(recipe)
    with (recipe.output / "log.csv").open(newline="") as file:
        distilled = [float(r["distillation"]) for r in csv.DictReader(file)]
    assert np.mean(distilled[-5:]) < np.mean(distilled[:5])
    assert not any("projection" in k and "patch_embed" not in k for k in weights(model))  # training only


def test_self_distillation_pulls_at_pruned_steps_alone(recipe_of):
    recipe = recipe_of(loss={"self_distillation": 1.0})
    adapt(recipe)
    with (recipe.output / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all((float(r["self_distillation"]) > 0) == (float(r["pruned"]) > 0) for r in rows)
    assert any(float(r["pruned"]) > 0 for r in rows) and any(float(r["pruned"]) == 0 for r in rows)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(
            weights(recipe.output / "model.pth").values(),
            weights(adapt(recipe_of(output=str(recipe.output) + "-without"))).values(),
            strict=True,
        )
    )


@pytest.mark.slow
def test_windows_learn_to_score_by_what_their_pixels_weigh(recipe_of, tmp_path):
    distance = {}
    for weight in (0.0, 2.0):
        changes = {"loss": {"importance": weight}, "schedule": {"steps": 30, "warmup_steps": 2}}
        session = Adaptation(recipe_of(output=str(tmp_path / f"{weight}"), **changes))
        session.run()
        size = session.recipe.model.window_size
        values = []
        for batch in map(session.batches.make, range(100, 110)):
            with torch.no_grad(), stage_inputs(session.model.backbone) as inputs:
                session.model(normalize(batch.images, session.recipe.input.mean, session.recipe.input.std))
            values.append(importance_loss(inputs, session.objective.pixel_weights(batch), size, (2, 2)).item())
        distance[weight] = np.mean(values)
    assert distance[2.0] < 0.8 * distance[0.0]


def test_pixels_weigh_as_in_the_loss_and_void_ones_nothing(recipe_of):
    session = Adaptation(recipe_of())
    labels = torch.tensor([[[0, 2, IGNORE], [1, 0, IGNORE]]], dtype=torch.uint8)
    batch = replace(session.batches.make(0), labels=labels)
    common, thing, rare = session.objective._loss.weights.tolist()
    assert rare > thing > common > 0
    assert session.objective.pixel_weights(batch).tolist() == [[[common, rare, 0.0], [thing, common, 0.0]]]


def test_what_does_not_decay(recipe_of):
    model = build_model(recipe_of(), 3)
    decayed, plain = build_optimizer([model, None], recipe_of()).param_groups
    assert decayed["weight_decay"] > 0 == plain["weight_decay"]
    names = {id(p): n for n, p in model.named_parameters()}
    spared = {names[id(p)] for p in plain["params"]}
    assert len(spared) + len(decayed["params"]) == len(names)
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert {n for n in names.values() if "norm" in n or n.endswith((".bias", "bias_table"))} <= spared
    assert not any(n.endswith(("qkv.weight", "projection.weight", "classify.weight")) for n in spared)


def test_a_part_learns_at_a_rate_of_its_own(recipe_of):
    scales = {"backbone": 0.1, "backbone.norm0": 2.0}
    recipe = recipe_of(optimizer={"lr": 0.01, "lr_scale": scales}, schedule={"steps": 2, "warmup_steps": 0})
    model = build_model(recipe, 3)
    groups = build_optimizer([model, None], recipe).param_groups
    scale_of = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        expected = 2.0 if "norm0" in name else 0.1 if name.startswith("backbone.") else 1.0
        assert scale_of[id(parameter)] == expected, name
    session = Adaptation(recipe)
    session.run(stop_at=1)
    rates = {group["lr_scale"]: group["lr"] for group in session.optimizer.param_groups}
    assert rates[0.1] == pytest.approx(0.1 * rates[1.0]) and rates[2.0] == pytest.approx(2 * rates[1.0])


def test_a_rate_for_what_is_not_trained_is_refused(recipe_of):
    with pytest.raises(RecipeError, match=r"optimizer\.lr_scale names backbone\.front, which has nothing to train"):
        recipe = recipe_of(optimizer={"lr_scale": {"backbone.front": 0.1}})
        build_optimizer([build_model(recipe, 3)], recipe)


@pytest.mark.parametrize(("precision", "expected"), [("fp32", None), ("bf16", torch.bfloat16)])
def test_precision_asked_for(precision, expected):
    assert choose_autocast(precision, torch.device("cpu")) is expected


def test_device_asked_for():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_shipped_recipe_fits_its_budget_of_bytes():
    from sparsevit_training.recipe import load_recipe

    recipe = load_recipe(Path(__file__).parents[2] / "training" / "recipes" / "street-scenes.yaml")
    parameters = sum(p.numel() for p in build_model(recipe, 11).parameters())
    assert 2 * parameters < 8e6


def test_masks_of_0_and_255_are_refused(recipe_of, folder):
    """All of the object would be void, and the run go to its end without it."""
    (folder / "classes.txt").write_text("0 background 0 0 0\n1 thing 200 0 0\n")
    for path in folder.glob("*/labels/*.png"):
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(label == 1, 255, 0).astype(np.uint8))
    data = {"kind": "semantic_folder", "root": str(folder), "splits": ["train"]}
    with pytest.raises(DatasetError, match="no label of the data has thing: there is nothing to tell apart"):
        Adaptation(recipe_of(data=[data], monitor={}, augmentation={}))


def test_a_class_that_no_label_has_is_said(recipe_of, folder, caplog):
    for path in (folder / "train" / "labels").iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(label == 2, 0, label).astype(np.uint8))
    Adaptation(recipe_of(augmentation={}))
    assert "not learned, for no label of the data has it: Rare sign" in caplog.text


def test_boxes_of_no_class_are_refused(recipe_of, tmp_path, caplog):
    annotations, images = tmp_path / "boxes.json", tmp_path / "boxes"
    document = detection_data.write_coco(annotations, images, 2)
    document["categories"].append({"id": 20, "name": "lorry"})
    annotations.write_text(json.dumps(document))
    data = {"kind": "coco", "annotations": str(annotations), "images": str(images), "categories": ["lorry"]}
    four = {"embed_dim": 8, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8], "window_size": 4, "head_channels": 8}
    settings = {"task": "detection", "model": four, "monitor": {}, "augmentation": {}}
    with pytest.raises(DatasetError, match="no image of the data has an object of lorry"):
        Adaptation(recipe_of(data=[data], **settings))
    Adaptation(recipe_of(data=[{**data, "categories": ["lorry", "car"]}], **settings))
    assert "not learned, for no image of the data has it: lorry" in caplog.text
