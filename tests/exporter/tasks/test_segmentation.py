"""Segmenters: exported, read back, and loaded from training."""

import pytest

from exports import CLASSES, NORMALISATION, check_comes_back, check_export, check_native, small_backbone, tiny_backbone
from networks import randomize
from sparsevit_exporter import ExportOptions, SegmentationModel, SegmentationOptions
from sparsevit_exporter.tasks import task_of
from sparsevit_runtime.errors import ExportError

SLOW = pytest.mark.slow  # each export costs seconds of tracing


@SLOW
@pytest.mark.parametrize(
    "options",
    [
        ExportOptions(101, 67, task=SegmentationOptions(label_stride=1)),
        ExportOptions(64, 96, precision="fp16"),
        ExportOptions(64, 96, half_weights=True),
    ],
    ids=["padded, a label a pixel", "fp16", "half weights"],
)
def test_export_holds_and_describes_itself(options, tmp_path):
    network = randomize(SegmentationModel(small_backbone(), len(CLASSES), channels=16), seed=3)
    check_export(network, tmp_path / "model.onnx", options, CLASSES)


@SLOW
@pytest.mark.parametrize(
    "options",
    [ExportOptions(96, 128, half_weights=True), ExportOptions(101, 67, precision="fp16", **NORMALISATION)],
    ids=["half weights", "padded, fp16"],
)
def test_the_network_comes_back_from_the_file(options, tmp_path):
    network = randomize(SegmentationModel(tiny_backbone(), len(CLASSES), 8), seed=4)
    check_comes_back(network, tmp_path / "model.onnx", options, CLASSES)


def test_a_training_checkpoint_is_loaded(tmp_path):
    check_native(randomize(SegmentationModel(tiny_backbone(), len(CLASSES), 8), seed=5), tmp_path / "w.pth", CLASSES)


@pytest.mark.parametrize("stride", [0, 3, 8])
def test_labels_are_as_fine_as_logits_or_finer(stride):
    with pytest.raises(ExportError, match=f"label_stride is {stride}; the head's logits allow 1, 2 or 4"):
        SegmentationOptions(label_stride=stride)


def test_options_by_name():
    task = task_of("segmentation")
    assert task.parse_options({"label_stride": 4}) == SegmentationOptions(4)
    assert task.parse_options({}) == SegmentationOptions(2)
    with pytest.raises(ExportError, match="detections is no option of segmentation: it takes label_stride"):
        task.parse_options({"detections": 3})
