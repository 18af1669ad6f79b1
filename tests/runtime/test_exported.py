"""The runtime on files of the real exporter: every task, what PyTorch says at the same windows, frames of any size."""

import cv2
import numpy as np
import pytest
import torch

from sparsevit_exporter import (
    DetectionModel,
    DetectionOptions,
    ExportOptions,
    SegmentationModel,
    SegmentationOptions,
    SparseViT,
    export,
)
from sparsevit_exporter.heads.detection import decode_detections
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.images.letterbox import Letterbox
from sparsevit_runtime.model import Model, load
from sparsevit_runtime.windows.plan import Plan

NAMES = ("road", "car", "tree")
HW = (96, 160)  # padded at every stage
DEPTHS = {"segmentation": (2, 2), "detection": (2, 1, 1, 2)}


@pytest.fixture(scope="module", params=["segmentation", pytest.param("detection", marks=pytest.mark.slow)])
def exported(request, tmp_path_factory) -> tuple[torch.nn.Module, Model]:
    torch.manual_seed(0)
    depths = DEPTHS[request.param]
    backbone = SparseViT(embed_dim=16, depths=depths, num_heads=(1, 1, 2, 2)[: len(depths)])
    net = (SegmentationModel if request.param == "segmentation" else DetectionModel)(backbone, len(NAMES)).eval()
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    own = SegmentationOptions(4) if request.param == "segmentation" else DetectionOptions(20)
    options = ExportOptions(*HW, task=own)
    assert export(net, path, options, [ClassCard(name=n) for n in NAMES]).holds
    with load(path, threads=1) as model:
        yield net, model


def plan_of(model: Model) -> Plan:
    return Plan.parse([0.5, 0.25, 0.0, 0.5][: len(model.card.windows.depths)], model.card.windows.depths)


def test_answers_are_pytorchs_at_the_same_windows(exported):
    net, model = exported
    frame = cv2.GaussianBlur(np.random.RandomState(0).randint(0, 256, (*HW, 3)).astype(np.uint8), (0, 0), 2)
    result = model(frame, plan_of(model), threshold=0.0)
    card = model.card.input
    rgb = ((frame[None, ..., ::-1] - np.array(card.mean)) / np.array(card.std)).astype(np.float32)
    keep = plan_of(model).keep(model.card.stages).tolist()
    with torch.no_grad():
        expected = net(torch.from_numpy(rgb).permute(0, 3, 1, 2), keep=keep)
    if model.task == "segmentation":
        labels = expected[0].argmax(0).numpy().repeat(4, axis=0).repeat(4, axis=1)
        assert (result.label_map == labels).mean() > 0.995
    else:
        boxes, scores, _ = (a[0].numpy() for a in decode_detections(expected, 40, *HW))
        assert len(result) == 20
        np.testing.assert_allclose(result.confidence, scores[:20], atol=1e-4)
        distance = np.abs(result.xyxy[:, None] - boxes[None]).max(axis=2)  # (20, 40); near ties may swap places
        assert (distance.min(axis=1) < 0.01).all()


@pytest.mark.parametrize("size", [(720, 1280), (45, 33), (1, 40)])
def test_frames_of_any_size_and_their_activity(exported, size):
    _, model = exported
    frames = [np.full((*size, 3), v, np.uint8) for v in (0, 200)]
    for result in model.batch(frames, plan_of(model), activity=True):
        assert result.image_wh == size[::-1]
        assert result.activity.computed_share == pytest.approx(result.window_share)
        assert result.activity.frame_heat().shape == size


def test_window_lists_name_every_window_once(exported):
    _, model = exported
    names = [n for n in model.backend.output_names if "windows" in n]
    images = np.stack([Letterbox((9, 9), HW).apply(np.full((9, 9, 3), v, np.uint8)) for v in (3, 90)])
    for name, order in model.backend.run(feeds_of(images), names).items():
        stage = model.card.stages[int(name[-1])]
        np.testing.assert_array_equal(np.sort(order, axis=1), np.arange(stage.windows)[None].repeat(2, axis=0))
