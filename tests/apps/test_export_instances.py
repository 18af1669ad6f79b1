"""What the command line says to Mask R-CNN checkpoints, before anything is traced."""

import logging

import pytest
import torch

from exports import CLASSES, native_document, tiny_backbone
from networks import randomize
from sparsevit_apps.exporting import ExportRequest, export_checkpoint
from sparsevit_exporter import InstanceModel, SegmentationModel
from sparsevit_runtime.errors import CheckpointError, ExportError, PlanError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """In mmdetection's layout, of three classes."""
    path = tmp_path_factory.mktemp("mmdet") / "epoch_36.pth"
    network = randomize(InstanceModel(tiny_backbone((1, 2, 1, 1)), len(CLASSES), 8, 16), 1)
    torch.save({"state_dict": network.state_dict(), "meta": {"CLASSES": ["a", "b", "c"]}}, path)
    return path


def request(checkpoint, folder, **changes):
    settings = {
        "input_hw": (80, 96),
        "task": None,
        "precision": "fp32",
        "plan": None,
        "half_weights": False,
        "name": "m",
    }
    return ExportRequest(checkpoint=checkpoint, output=folder / "m.onnx", **{**settings, **changes})


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"task_options": {"score_threshold": 1.0}}, ExportError, "score_threshold is 1.0"),
        ({"task_options": {"label_stride": 2}}, ExportError, "it takes proposals, detections, score_threshold, resize"),
        ({"task": "backbone", "task_options": {"proposals": 3}}, ExportError, "proposals is no option of backbone"),
        ({"task": "segmentation"}, ExportError, "it has no segmentation head"),
        ({"plan": "cfg2"}, PlanError, r"cfg2 is a published plan .* the model has \[1, 2, 1, 1\]"),
        ({"input_hw": None}, CheckpointError, "records no input size"),
    ],
)
def test_what_cannot_be_exported_says_why(checkpoint, tmp_path, changes, error, told):
    with pytest.raises(error, match=told):
        export_checkpoint(request(checkpoint, tmp_path, **changes))
    assert not list(tmp_path.iterdir())


def test_a_segmenter_takes_no_proposals(tmp_path):
    network = randomize(SegmentationModel(tiny_backbone(), len(CLASSES), 8), 0)
    torch.save(native_document(network, CLASSES), tmp_path / "w.pth")
    with pytest.raises(ExportError, match="proposals is no option of segmentation: it takes label_stride"):
        export_checkpoint(request(tmp_path / "w.pth", tmp_path, task_options={"proposals": 3}))


def test_what_mmdetections_swin_computes_otherwise_is_told(checkpoint, tmp_path, caplog):
    """The padded image is of 96x96 pixels: maps of 24, 12, 6 and 3 tokens, windows of 4."""
    with caplog.at_level(logging.WARNING), pytest.raises(ExportError):
        export_checkpoint(request(checkpoint, tmp_path, input_hw=(80, 90), task_options={"score_threshold": 1.0}))
    told = [record.getMessage() for record in caplog.records]
    assert any("not adapted to sparsity" in line for line in told)
    assert any("pads before the norm (stages 3, 4;" in line and "this mmdet Swin" in line for line in told)
