"""The backbone alone: exported, read back, and loaded from training."""

import pytest

from exports import check_comes_back, check_export, check_native, small_backbone, tiny_backbone, write_export
from networks import randomize
from sparsevit_exporter import ExportOptions, SegmentationModel
from sparsevit_exporter.tasks import task_of
from sparsevit_runtime.windows.plan import Plan

SLOW = pytest.mark.slow  # each export costs seconds of tracing


@SLOW
def test_export_holds_and_describes_itself(tmp_path):
    plan = Plan(((0.0, 0.5), (0.3,), (0.0, 0.9, 0.2), (1.0,)))
    network = randomize(small_backbone(), seed=3)
    check_export(write_export(network, tmp_path / "model.onnx", ExportOptions(60, 124, fixed=plan)))


@SLOW
def test_the_network_comes_back_from_the_file(tmp_path):
    network = randomize(tiny_backbone(), seed=4)
    check_comes_back(write_export(network, tmp_path / "model.onnx", ExportOptions(97, 131, layout="normalized")))


def test_a_training_checkpoint_is_loaded(tmp_path):
    check_native(randomize(tiny_backbone(), seed=5), tmp_path / "w.pth", ())


def test_any_trained_network_has_one():
    backbone, task = tiny_backbone(), task_of("backbone")
    network = SegmentationModel(backbone, 3, 8)
    assert task.network_in(network, task_of(network)) is backbone
    assert task.network_in(backbone, task_of(backbone)) is backbone
    assert task_of("segmentation").network_in(backbone, task) is None
    assert task_of("detection").network_in(network, task_of(network)) is None
