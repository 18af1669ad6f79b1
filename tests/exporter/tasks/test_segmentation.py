"""Segmenters: exported, read back, and loaded from training."""

from collections.abc import Callable
from functools import cache

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
from sparsevit_exporter import ExportOptions, SegmentationModel, SegmentationOptions
from sparsevit_exporter.tasks import task_of
from sparsevit_runtime.errors import ExportError

SLOW = pytest.mark.slow  # each export costs seconds of tracing
OPTIONS = {
    "a label a pixel": ExportOptions(101, 67, task=SegmentationOptions(label_stride=1)),
    "fp16": ExportOptions(101, 67, precision="fp16", **NORMALISATION),
    "half weights": ExportOptions(101, 67, half_weights=True),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Callable[[str], Exported]:
    """Function (key of `OPTIONS`) -> an export of one network, padded; made once each."""
    network = randomize(SegmentationModel(small_backbone(), len(CLASSES), channels=16), seed=3)
    folder = tmp_path_factory.mktemp("segmentation")
    return cache(lambda name: write_export(network, folder / f"{name}.onnx", OPTIONS[name], CLASSES))


@SLOW
@pytest.mark.parametrize("name", OPTIONS)
def test_export_holds_and_describes_itself(written, name):
    check_export(written(name))


@SLOW
def test_half_weights_halve_the_file(written):
    half, whole = (written(name).path.stat().st_size for name in ("half weights", "a label a pixel"))
    assert half < 0.65 * whole


@SLOW
@pytest.mark.parametrize("name", OPTIONS)
def test_the_network_comes_back_from_the_file(written, name):
    check_comes_back(written(name))


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
