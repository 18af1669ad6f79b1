"""A task that this project does not have, added in one file."""

import onnx
import pytest
import torch

from classification.exporter import ClassificationTask, ClassifierHead, ClassifierModel, DeployedClassifier
from exports import (
    CLASSES,
    Exported,
    check_comes_back,
    check_export,
    check_native,
    native_document,
    tiny_backbone,
    write_export,
)
from networks import randomize
from sparsevit_exporter import ExportOptions, export, load_checkpoint, tasks
from sparsevit_exporter.tasks import known_tasks, register, task_of
from sparsevit_runtime.card import CARD_KEY
from sparsevit_runtime.errors import CheckpointError, ExportError
from sparsevit_runtime.graph.parts import part_of_layer


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_TASKS", dict(tasks._TASKS))
        assert register(ClassificationTask) is ClassificationTask
        yield


def build_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)  # of the head's biases, which `randomize` moves but does not set
        return randomize(ClassifierModel(tiny_backbone((2, 2)), len(CLASSES), 8), seed=2)


@pytest.fixture
def network():
    return build_network()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Exported:
    return write_export(build_network(), tmp_path_factory.mktemp("whole") / "m.onnx", ExportOptions(60, 88), CLASSES)


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> Exported:
    options = ExportOptions(60, 88, half_weights=True)
    return write_export(build_network(), tmp_path_factory.mktemp("half") / "m.onnx", options, CLASSES)


@pytest.mark.slow
def test_it_is_exported_like_any_other(half):
    check_export(half)
    graph = onnx.load(half.path).graph
    assert [o.name for o in graph.output] == ["scores", "windows0", "shifted_windows0", "windows1", "shifted_windows1"]
    assert {"head/classify/Gemm", "head/Softmax"} <= {node.name for node in graph.node}
    assert not [node.name for node in graph.node if part_of_layer(node.name) == "other"]
    weights = {w.name for w in graph.initializer}
    assert {"head.squeeze.bias", "head.classify.bias", "backbone.norm1.bias"} <= weights


@pytest.mark.slow
def test_a_wrong_answer_is_found(network, tmp_path, monkeypatch):
    monkeypatch.setattr(ClassifierHead, "forward", lambda self, maps: self.classify(maps[-1].mean((2, 3))[:, :8]))
    right = DeployedClassifier.forward

    def wrong(self, maps):
        answers = right(self, maps)
        return answers | {"scores": answers["scores"] * 0.99}

    monkeypatch.setattr(DeployedClassifier, "forward", wrong)
    report = export(network, tmp_path / "model.onnx", ExportOptions(60, 88), CLASSES)
    assert {row.tensor for row in report.rows if not row.holds} == {"scores"}
    assert not list(tmp_path.iterdir())


def test_its_training_checkpoints_are_loaded(network, tmp_path):
    check_native(network, tmp_path / "w.pth", CLASSES)


@pytest.mark.slow
def test_its_files_are_read_back_once_it_says_how(whole, monkeypatch):
    with pytest.raises(CheckpointError, match="m.onnx: files of task classification cannot be read back"):
        load_checkpoint(whole.path)
    monkeypatch.setattr(
        ClassificationTask,
        "head_in_file",
        lambda self, card, weights: {
            "num_classes": len(card.classes),
            "channels": weights["head.squeeze.bias"].shape[0],
        },
    )
    monkeypatch.setattr(
        ClassificationTask,
        "agreement",
        lambda self, answer, outputs, card: float((answer.softmax(-1) - outputs["scores"]).abs().max() < 1e-3),
    )
    check_comes_back(whole)


def test_a_task_that_is_not_known_is_named_with_those_that_are(network, tmp_path, monkeypatch):
    torch.save(native_document(network, CLASSES), tmp_path / "w.pth")
    monkeypatch.delitem(tasks._TASKS, "classification")
    assert known_tasks() == ("segmentation", "detection", "instances", "backbone")
    known = "which this version does not know; it knows segmentation, detection, instances, backbone. Upgrade"
    with pytest.raises(CheckpointError, match=f"w.pth: its task is 'classification', {known}"):
        load_checkpoint(tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=known):
        task_of("classification")
    with pytest.raises(ExportError, match=r"ClassifierModel is the network of no known task \(segmentation, "):
        export(network, tmp_path / "m.onnx", ExportOptions(60, 88), CLASSES)


@pytest.mark.slow
def test_a_file_of_a_task_that_is_not_known(whole, tmp_path):
    path = tmp_path / "m.onnx"
    proto = onnx.load(whole.path)
    entry = next(p for p in proto.metadata_props if p.key == CARD_KEY)
    entry.value = entry.value.replace('"task":"classification"', '"task":"pose"')
    onnx.save(proto, path)
    with pytest.raises(CheckpointError, match="m.onnx: its task is 'pose', which this version does not know"):
        load_checkpoint(path)
