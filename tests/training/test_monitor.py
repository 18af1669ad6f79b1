import json

import numpy as np
import pytest
import torch
from torch import nn

import detection_data
from sparsevit_exporter.heads.detection import RawDetections
from sparsevit_training.datasets import ClassInfo, CocoBoxes, Dataset, Sample
from sparsevit_training.monitor import average_precision_at, confusion_at, miou_at
from sparsevit_training.recipe import InputRecipe


class Halves(Dataset):
    """Dark above, bright below, of several sizes."""

    name = "halves"
    classes = (ClassInfo("dark", (0, 0, 0)), ClassInfo("bright", (255, 255, 255)))

    def __len__(self):
        return 3

    def __getitem__(self, index):
        height, width = ((48, 64), (96, 64), (40, 40))[index]
        label = np.zeros((height, width), np.uint8)
        label[height // 2 :] = 1
        return Sample(label[..., None].repeat(3, 2) * 255, label, str(index))


class Backbone(nn.Module):
    depths = (2,)
    window_size = 4


class Brightness(nn.Module):
    """Tells bright from dark by the pixels; calls everything dark once windows are left out."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.plans = []

    def forward(self, images, keep=None):
        self.plans.append(keep)
        grey = nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4)
        bright = grey if keep is None else torch.full_like(grey, -1.0)
        return torch.cat([-bright, bright], 1)


RECIPE = InputRecipe(height=48, width=64, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))


def test_frames_of_any_size_meet_their_labels():
    matrix = confusion_at(Brightness(), Halves(), RECIPE, 0.0, torch.device("cpu"), None, batch=2)
    assert matrix.counts.sum() == 48 * 64 + 96 * 64 + 40 * 40
    assert matrix.pixel_accuracy > 0.97


def test_ratios_reach_the_model():
    model = Brightness()
    found = miou_at(model, Halves(), RECIPE, (0.0, 0.5), torch.device("cpu"), None)
    assert found[0.0] > 0.95
    assert found[0.5] == pytest.approx(0.25)  # half of the pixels right for one class, none for the other
    assert set(model.plans) == {None, (6,)}  # 12 windows of 4x4 tokens


class AlwaysThere(nn.Module):
    """Answers the same box for every image: class 1 at (16, 8, 48, 40) of a 64x96 input."""

    backbone = Backbone()

    def forward(self, images, keep=None):
        logits = torch.full((len(images), 3, 2), -9.0)
        logits[:, 1, 1] = 4.0
        boxes = torch.tensor([[0.0, 0, 9, 9], [16, 8, 48, 40], [1, 1, 5, 5]]).expand(len(images), 3, 4)
        return RawDetections(logits, boxes)


def test_a_subset_is_measured_alone(tmp_path):
    """Images that are not in it are not missed."""
    document = detection_data.write_coco(tmp_path / "a.json", tmp_path / "images", count=4)
    for i, annotation in enumerate(annotations := document["annotations"][:4]):
        annotation.update(image_id=10 + i, category_id=7, bbox=[16, 8, 32, 32], area=1024)
    (tmp_path / "a.json").write_text(json.dumps({**document, "annotations": annotations}))
    data = CocoBoxes(tmp_path / "a.json", tmp_path / "images", ("person", "car"))
    recipe = InputRecipe(height=64, width=96)
    for part in (data, data.subset([2])):
        found = average_precision_at(AlwaysThere(), part, recipe, (0.0,), torch.device("cpu"), None)
        assert found[0.0] == pytest.approx(1.0)
