import cv2
import numpy as np
import pytest
import torch
import yaml

from sparsevit_exporter import load_checkpoint


@pytest.fixture
def recipe(tmp_path):
    """A recipe file that trains in seconds, on four frames of two classes."""
    root = tmp_path / "data"
    for part in ("images", "labels"):
        (root / "train" / part).mkdir(parents=True)
    (root / "classes.txt").write_text("0 Ground 0 0 0\n1 Thing 255 0 0\n")
    random = np.random.default_rng(0)
    for i in range(4):
        image, label = random.integers(0, 90, (48, 64, 3), dtype=np.uint8), np.zeros((48, 64), np.uint8)
        image[10:30, 5 + 8 * i : 30 + 8 * i] = 220
        label[10:30, 5 + 8 * i : 30 + 8 * i] = 1
        cv2.imwrite(str(root / "train" / "images" / f"{i}.png"), image)
        cv2.imwrite(str(root / "train" / "labels" / f"{i}.png"), label)
    document = {
        "name": "tiny",
        "output": str(tmp_path / "run"),
        "input": {"height": 32, "width": 40},
        "model": {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4, "head_channels": 8},
        "data": [{"kind": "semantic_folder", "root": str(root), "splits": ["train"]}],
        "crops": [{"height": 32, "width": 40, "batch": 2}],
        "schedule": {"steps": 4, "warmup_steps": 1},
        "precision": "fp32",
        "log_every": 1,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_trains_goes_on_and_can_be_exported(sparsevit, recipe, tmp_path):
    assert sparsevit("adapt", recipe, "--set", "schedule.steps=3").code == 0
    first = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
    said = sparsevit("adapt", recipe, "--set", "schedule.steps=6")
    assert said.code == 0 and "sparsevit export" in said.out
    loaded = load_checkpoint(tmp_path / "run" / "model.pth")
    assert loaded.task == "segmentation" and [c.name for c in loaded.classes] == ["Ground", "Thing"]
    steps = [int(line.split(",")[0]) for line in (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]]
    assert steps == sorted(set(steps)) and steps[0] < 3 <= steps[-1]  # the second run went on from the first
    assert torch.load(tmp_path / "run" / "last.pth", weights_only=True).keys() == first.keys()


@pytest.mark.parametrize(
    "arguments,code,message",
    [
        (["{recipe}", "--set", "schedule"], 2, "KEY=VALUE"),
        (["{recipe}", "--set", "model.width=3"], 1, "width"),
        (["{recipe}", "--set", "data.0.root=nowhere"], 1, "nowhere"),
        (["missing.yaml"], 1, "missing.yaml"),
    ],
)
def test_errors(sparsevit, recipe, arguments, code, message):
    said = sparsevit("adapt", *(a.format(recipe=recipe) for a in arguments))
    assert said.code == code and message in said.err
