"""Detectors: exported, read back, and loaded from training."""

import pytest

from exports import (
    CLASSES,
    NORMALISATION,
    Exported,
    check_comes_back,
    check_export,
    check_native,
    small_backbone,
    tiny_backbone,
    write_export,
)
from networks import randomize
from sparsevit_exporter import DetectionModel, DetectionOptions, ExportOptions
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


def test_a_training_checkpoint_is_loaded(tmp_path):
    network = randomize(DetectionModel(tiny_backbone((1, 2, 1, 2)), len(CLASSES), 8), seed=5)
    check_native(network, tmp_path / "w.pth", CLASSES)


def test_no_boxes_are_no_answer():
    with pytest.raises(ExportError, match="detections is 0"):
        DetectionOptions(detections=0)
