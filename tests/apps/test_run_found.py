"""Mask R-CNN whose frame has nothing, one object, as many as there may be, or one of every class, as `run` tells it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks

import arranged_classes as arranged
from exports import tiny_backbone
from networks import randomize
from sparsevit_exporter import ExportOptions, InstanceModel, InstanceOptions, export
from sparsevit_runtime import load
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.tasks.coco_classes import COCO_CLASSES

pytestmark = pytest.mark.slow

SIZE = (160, 160)
MOST = 100
OPTIONS = ExportOptions(*SIZE, task=InstanceOptions(200, MOST))
#: Classes of the regions: none, one, more than are returned, one of each.
ARRANGED = {"none": [], "one": [17], "most": [i % 80 for i in range(110)], "every class": list(range(80))}


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    return probe_image(*SIZE, 0)


@pytest.fixture(scope="module")
def exported(frame, tmp_path_factory):
    """The file, and what its classifier is given of the frame."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = randomize(InstanceModel(tiny_backbone((1, 1, 1, 1)), len(COCO_CLASSES), 16, 512), 3).eval()
    rgb = torch.from_numpy(frame[..., ::-1].copy()).float()
    image = ((rgb - torch.tensor(OPTIONS.mean)) / torch.tensor(OPTIONS.std)).permute(2, 0, 1)
    seen = arranged.look(network, image, OPTIONS.task.proposals)
    path = tmp_path_factory.mktemp("found") / "model.onnx"
    assert export(network, path, OPTIONS, [ClassCard(name=name) for name in COCO_CLASSES]).holds
    return path, seen


@pytest.mark.parametrize("what", ARRANGED)
def test_what_is_found_is_told_drawn_and_recorded(exported, frame, sparsevit, tmp_path, what):
    path, seen = exported
    model, picture, classes = tmp_path / "model.onnx", tmp_path / "frame.png", ARRANGED[what]
    arranged.rewrite(path, model, arranged.classifier(seen, classes, len(COCO_CLASSES)))
    cv2.imwrite(str(picture), frame)
    outputs = tmp_path / "drawn.png", f"{tmp_path}/said.jsonl?masks=rle", tmp_path / "said.json"
    told = sparsevit("run", picture, *outputs, "-m", model)
    assert told.code == 0, told.err
    line = json.loads((tmp_path / "said.jsonl").read_text())
    names = [found["name"] for found in line["objects"]]
    assert len(names) == min(len(classes), MOST)
    assert set(names) <= {COCO_CLASSES[c] for c in classes} and (len(classes) > MOST or len(set(names)) == len(names))
    decoded = [coco_masks.decode(mask["segmentation"]) for mask in line["masks"]]
    assert [mask.shape for mask in decoded] == [SIZE] * len(names)
    assert [int(mask.sum()) for mask in decoded] == [mask["area"] for mask in line["masks"]]
    assert len(json.loads((tmp_path / "said.json").read_text())["annotations"]) == len(names)
    with load(model, threads=1) as opened:
        result = opened(frame)
    assert all(np.isfinite(part).all() for part in (result.xyxy, result.confidence, result.grids))
    for mask, told_mask in zip(result.mask_stack(), decoded, strict=True):
        np.testing.assert_array_equal(mask, told_mask)
    drawn = cv2.imread(str(tmp_path / "drawn.png"))
    assert drawn.shape == frame.shape and bool((drawn[60:] != frame[60:]).any()) == bool(names)  # below the figures
