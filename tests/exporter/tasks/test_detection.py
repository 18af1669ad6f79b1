"""Detectors: exported, read back, and loaded from training."""

import pytest

from exports import CLASSES, NORMALISATION, check_comes_back, check_export, check_native, small_backbone, tiny_backbone
from networks import randomize
from sparsevit_exporter import DetectionModel, DetectionOptions, ExportOptions
from sparsevit_runtime.errors import ExportError

SLOW = pytest.mark.slow  # each export costs seconds of tracing


@SLOW
@pytest.mark.parametrize(
    "options",
    [
        ExportOptions(97, 131, task=DetectionOptions(detections=20)),
        ExportOptions(64, 64, precision="fp16", task=DetectionOptions(detections=10_000)),  # more than locations
    ],
    ids=["padded", "fp16, every location"],
)
def test_export_holds_and_describes_itself(options, tmp_path):
    network = randomize(DetectionModel(small_backbone(), len(CLASSES), channels=16), seed=3)
    check_export(network, tmp_path / "model.onnx", options, CLASSES)


@SLOW
def test_the_network_comes_back_from_the_file(tmp_path):
    network = randomize(DetectionModel(tiny_backbone((1, 2, 1, 2)), len(CLASSES), 8), seed=4)
    loaded = check_comes_back(network, tmp_path / "model.onnx", ExportOptions(96, 128, **NORMALISATION), CLASSES)
    head = loaded.network.head.state_dict()  # the branch that only training has starts as a copy
    for name in (name for name in head if name.startswith("one_to_many.")):
        assert (head[name] == head[name.replace("one_to_many", "one_to_one")]).all()


def test_a_training_checkpoint_is_loaded(tmp_path):
    network = randomize(DetectionModel(tiny_backbone((1, 2, 1, 2)), len(CLASSES), 8), seed=5)
    check_native(network, tmp_path / "w.pth", CLASSES)


def test_no_boxes_are_no_answer():
    with pytest.raises(ExportError, match="detections is 0"):
        DetectionOptions(detections=0)
