"""Detectors: exported, read back, and loaded from training."""

import pytest

from exports import (
    CLASSES,
    NORMALISATION,
    Exported,
    card_of,
    check_comes_back,
    check_export,
    check_native,
    small_backbone,
    tiny_backbone,
    write_export,
)
from networks import randomize
from sparsevit_exporter import DetectionModel, DetectionOptions, ExportOptions
from sparsevit_exporter.tasks import task_of
from sparsevit_runtime.card import ObjectsCard
from sparsevit_runtime.errors import ExportError

SLOW = pytest.mark.slow  # each export costs seconds of tracing


OPTIONS = {
    "padded": ExportOptions(97, 131, task=DetectionOptions(detections=20)),
    # More detections than there are locations.
    "fp16, every location": ExportOptions(
        64, 64, precision="fp16", task=DetectionOptions(detections=10_000), **NORMALISATION
    ),
}


@pytest.fixture(scope="module", params=OPTIONS)
def exported(request, tmp_path_factory) -> Exported:
    network = randomize(DetectionModel(small_backbone(), len(CLASSES), channels=16), seed=3)
    return write_export(network, tmp_path_factory.mktemp("detection") / "model.onnx", OPTIONS[request.param], CLASSES)


@SLOW
def test_export_holds_and_describes_itself(exported):
    check_export(exported)


@SLOW
def test_the_network_comes_back_from_the_file(exported):
    loaded = check_comes_back(exported)
    head = loaded.network.head.state_dict()  # the branch that only training has starts as a copy
    for name in (name for name in head if name.startswith("one_to_many.")):
        assert (head[name] == head[name.replace("one_to_many", "one_to_one")]).all()


@SLOW
def test_yolox_s_head_comes_back_from_a_file_whose_card_asks_for_nms(tmp_path):
    network = randomize(DetectionModel(small_backbone(), len(CLASSES), channels=16, type="yolox"), seed=3)
    exported = write_export(network, tmp_path / "m.onnx", ExportOptions(97, 131), CLASSES)
    check_export(exported)
    loaded = check_comes_back(exported)
    assert loaded.network.head_config["type"] == "yolox"
    assert card_of(tmp_path / "m.onnx").objects == ObjectsCard(nms_iou=0.65)


@pytest.mark.parametrize("head", [{}, {"type": "yolox"}])
def test_how_often_a_head_names_an_object_decides_on_nms(head):
    network = DetectionModel(tiny_backbone((1, 2, 1, 2)), 2, 8, **head)
    task = task_of(network)
    assert task.objects(network, DetectionOptions()).nms_iou == (0.65 if head else None)
    assert task.objects(network, DetectionOptions(nms_iou=0.5)).nms_iou == 0.5
    with pytest.raises(ExportError, match="nms_iou is 0"):
        DetectionOptions(nms_iou=0.0)


def test_a_training_checkpoint_with_yolox_s_head_is_loaded(tmp_path):
    network = randomize(DetectionModel(tiny_backbone((1, 2, 1, 2)), len(CLASSES), 8, type="yolox"), seed=5)
    check_native(network, tmp_path / "w.pth", CLASSES)


def test_a_training_checkpoint_is_loaded(tmp_path):
    network = randomize(DetectionModel(tiny_backbone((1, 2, 1, 2)), len(CLASSES), 8), seed=5)
    check_native(network, tmp_path / "w.pth", CLASSES)


def test_no_boxes_are_no_answer():
    with pytest.raises(ExportError, match="detections is 0"):
        DetectionOptions(detections=0)
